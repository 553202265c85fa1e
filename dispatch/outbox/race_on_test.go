//go:build race

package outbox

// modelCommands is smaller under the race detector, which the model test, being
// sequential, gains nothing from.
const modelCommands = 3_000
