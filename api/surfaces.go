package api

import "slices"

// surfaceRoutes joins the tables of every surface but the config API.
func (s *Server) surfaceRoutes() []route {
	return slices.Concat(
		s.sessionRoutes(),
		s.oauthRoutes(),
		s.accountRoutes(),
		s.keyRoutes(),
		s.userRoutes(),
		s.auditRoutes(),
		s.clusterRoutes(),
		s.fleetRoutes(),
		s.backupRoutes(),
		s.eventRoutes(),
		s.eventSearchRoutes(),
		s.deadLetterRoutes(),
		s.replayRoutes(),
		s.tailRoutes(),
		s.watchRoutes(),
		s.destinationRoutes(),
		s.healthRoutes(),
		s.metricsRoutes(),
		s.docsRoutes(),
	)
}
