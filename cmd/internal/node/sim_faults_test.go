package node

import (
	"context"
	"time"
)

var networkFaults = []simFaultKind{
	{"halves", func(s *sim, f simFault) {
		s.cutAll(f.few(), f.others())
		s.cutAll(f.others(), f.few())
	}},
	{"one cannot speak", func(s *sim, f simFault) { s.cutAll(f.Nodes[:1], s.ids) }},
	{"one cannot hear", func(s *sim, f simFault) { s.cutAll(s.ids, f.Nodes[:1]) }},
	{"one link in one direction", func(s *sim, f simFault) { s.Net.Cut(f.Nodes[0], f.Nodes[1]) }},
	{"one link in both directions", func(s *sim, f simFault) { s.Net.Isolate(f.Nodes[0], f.Nodes[1]) }},
	{"leader of the config alone", func(s *sim, f simFault) { s.Net.Isolate(s.lead(groupConfig, f), s.ids...) }},
	{"leader of the events alone", func(s *sim, f simFault) { s.Net.Isolate(s.lead(groupEvents, f), s.ids...) }},
	{"everybody alone", func(s *sim, _ simFault) { s.cutAll(s.ids, s.ids) }},
	{"slow network", func(s *sim, f simFault) {
		s.Net.Latency(40*time.Millisecond, 20*time.Millisecond+time.Duration(f.Size*float64(100*time.Millisecond)))
	}},
	{"one slow link", func(s *sim, f simFault) {
		base := 100*time.Millisecond + time.Duration(f.Size*float64(900*time.Millisecond))
		s.Net.Delay(f.Nodes[0], f.Nodes[1], base, base/4)
	}},
	{"connections overtake each other", func(s *sim, f simFault) {
		s.links(func(a, b string) {
			s.Net.Delay(a, b, 0, 50*time.Millisecond+time.Duration(f.Size*float64(250*time.Millisecond)))
		})
	}},
	{"connections break by themselves", func(s *sim, f simFault) {
		s.links(func(a, b string) { s.Net.Unreliable(a, b, 0.002+f.Size*0.1) })
	}},
	{"a firewall forgets connections", func(s *sim, f simFault) {
		f.each(func(x simStep) {
			for _, other := range s.ids {
				s.Net.Break(x.Node, other)
			}
		}, func(simStep) {})
	}},
	{"short cuts", func(s *sim, f simFault) {
		f.each(func(x simStep) { s.Net.Isolate(x.Node, s.ids...) }, func(x simStep) { s.Net.Join(x.Node) })
	}},
}

var processFaults = []simFaultKind{
	{"nothing", func(*sim, simFault) {}},
	{"crash of a minority", func(s *sim, f simFault) { s.crashAll(f.few()) }},
	{"crash of the leader of the config", func(s *sim, f simFault) { s.crashAll([]string{s.lead(groupConfig, f)}) }},
	{"crash of the leader of the events", func(s *sim, f simFault) { s.crashAll([]string{s.lead(groupEvents, f)}) }},
	{"power failure", func(s *sim, _ simFault) { s.crashAll(s.ids) }},
	{"crashes one after another", func(s *sim, f simFault) {
		f.each(func(x simStep) { s.crashAll([]string{x.Node}) }, func(x simStep) {
			if s.Node(x.Node) == nil {
				s.Start(x.Node)
			}
		})
	}},
	{"loss of a disk", func(s *sim, f simFault) {
		s.crashAll(f.Nodes[:1])
		s.wipe(f.Nodes[0])
	}},
	{"pause of a minority", func(s *sim, f simFault) { s.pauseAll(f.few()) }},
	{"pause of the leader of the config", func(s *sim, f simFault) { s.pauseAll([]string{s.lead(groupConfig, f)}) }},
	{"pause of a majority", func(s *sim, f simFault) { s.pauseAll(f.others()) }},
	{"short pauses", func(s *sim, f simFault) {
		f.each(func(x simStep) { s.node(x.Node).pause() }, func(x simStep) { s.node(x.Node).resume() })
	}},
	{"leadership moves", func(s *sim, f simFault) {
		for _, group := range []string{groupConfig, groupEvents} {
			n := s.Node(s.lead(group, f))
			if n == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(s.t.Context(), simPatience)
			if err := n.TransferLeadership(ctx, group); err != nil {
				s.log.Info("leadership does not move", "error", err)
			}
			cancel()
		}
	}},
}

func (s *sim) pauseAll(ids []string) {
	for _, id := range ids {
		s.node(id).pause()
	}
}

var diskFaults = []simFaultKind{
	{"disks of a minority fail", func(s *sim, f simFault) { s.failDisks(f.few(), 0.3+0.7*f.Size) }},
	{"disk of the leader of the config fails", func(s *sim, f simFault) { s.failDisks([]string{s.lead(groupConfig, f)}, 1) }},
	{"disk of the leader of the events fails", func(s *sim, f simFault) { s.failDisks([]string{s.lead(groupEvents, f)}, 1) }},
	{"all disks fail now and then", func(s *sim, f simFault) { s.failDisks(s.ids, 0.01+0.1*f.Size) }},
	{"power failure while disks fail", func(s *sim, f simFault) {
		s.failDisks(s.ids, 0.1+0.5*f.Size)
		time.Sleep(f.Steps[0].On)
		s.crashAll(s.ids)
	}},
	{"slow disks of a minority", func(s *sim, f simFault) {
		for _, id := range f.few() {
			s.Disk(id).Slow(50*time.Millisecond + time.Duration(f.Size*float64(5*time.Second)))
		}
	}},
	{"all disks are slow", func(s *sim, f simFault) {
		for _, id := range s.ids {
			s.Disk(id).Slow(10*time.Millisecond + time.Duration(f.Size*float64(300*time.Millisecond)))
		}
	}},
	{"outboxes of a minority cannot be written", func(s *sim, f simFault) {
		for _, id := range f.few() {
			s.node(id).jammed.Store(true)
		}
	}},
}

func (s *sim) failDisks(ids []string, chance float64) {
	for _, id := range ids {
		s.Disk(id).Fail(chance)
	}
}

var clockFaults = []simFaultKind{
	{"a clock leaps by up to an hour", func(s *sim, f simFault) {
		s.setClock(f.Nodes[0], time.Duration(f.Steps[0].Size*float64(time.Hour)))
	}},
	{"all clocks are off", func(s *sim, f simFault) {
		for i, id := range s.ids {
			s.setClock(id, time.Duration(f.Steps[i].Size*float64(time.Minute)))
		}
	}},
	{"clocks strobe", func(s *sim, f simFault) {
		f.each(func(x simStep) {
			for i, id := range s.ids {
				s.setClock(id, time.Duration((1-2*float64(i%2))*x.Size*float64(200*time.Millisecond)))
			}
		}, func(simStep) {})
	}},
	{"a clock leaps and leaps back", func(s *sim, f simFault) {
		f.each(func(x simStep) { s.setClock(x.Node, time.Duration(x.Size*float64(time.Hour))) }, func(x simStep) { s.setClock(x.Node, 0) })
	}},
}
