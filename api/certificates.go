package api

func (s *Server) certificateRoutes() []route { return nil }
