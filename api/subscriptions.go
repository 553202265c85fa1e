package api

func (s *Server) subscriptionRoutes() []route { return nil }
