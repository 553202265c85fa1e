package node

import (
	"iter"

	"example.com/belfry/fsm/model"
)

// pageSize is how many objects of the config are read at once.
const pageSize = 100

// eachOf runs over everything that a paged list has; an error is the last thing
// that comes.
func eachOf[T any](list func(page int) (model.Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page := 0; ; page++ {
			p, err := list(page)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if len(p.Items) == 0 || (page+1)*p.Size >= p.Total {
				return
			}
		}
	}
}
