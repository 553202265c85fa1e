//go:build !race

package outbox

// modelCommands is how many commands each seed of the model test applies.
const modelCommands = 22_000
