package mutant

import "slices"

// All gives every mutant: those that others have made, and those that belfry
// had.
func All() []Mutant {
	return slices.Concat(consensus(), delivery(), foundInCluster(), foundInDispatch(), foundInFiles())
}
