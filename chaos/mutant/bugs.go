package mutant

import "slices"

// All gives every mutant, in the order of the table.
func All() []Mutant { return slices.Concat(consensus(), delivery()) }
