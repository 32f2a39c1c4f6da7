// Package optim turns gradients into new weights: learning-rate schedules, the gradient norm with clipping, and
// AdamW. All but the schedules are kernels, so that an update needs no answer from the device: what the host knows
// beforehand lies in the scalars buffer, what the device finds out in the state buffer.
package optim
