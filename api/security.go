package api

func (s *Server) securityRoutes() []route { return nil }
