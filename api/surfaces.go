package api

// surfaceRoutes joins the tables of every surface but the config API.
func (s *Server) surfaceRoutes() []route { return nil }
