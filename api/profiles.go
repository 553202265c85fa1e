package api

func (s *Server) profileRoutes() []route { return nil }
