// Gradient norm and what follows from it.   partials (N)  loss (1)  scalars, state (8)
//   norm = √(Σ partials) · scale,   clip = min(1, max_norm / (norm + 1e-6));   a norm or loss that is not finite skips the step
// SCALED: gradients are those of the loss times scale[0]. Where it makes them overflow, it is halved; after d.patience
// steps without that it is doubled.   scale: the scale, steps since it changed, steps lost
const WG: u32 = 64u;        //@param  threads, a power of two
const SCALED: bool = false; //@param
//@import reduce
//@import finite
//@import update

struct Dims { N: u32, max_norm: f32, patience: f32, most: f32 }

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read> loss: array<f32>;
@group(0) @binding(2) var<storage, read> scalars: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<uniform> d: Dims; //@if !SCALED
@group(0) @binding(4) var<storage, read_write> scale: array<f32>; //@if SCALED
@group(0) @binding(5) var<uniform> d: Dims; //@if SCALED

// One workgroup.
@compute @workgroup_size(WG)
fn finish_norm(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < d.N; i += WG) {
        sum += partials[i];
    }
    let total = workgroup_sum(sum, lane);
    if (lane != 0u) { return; }
    var to_mean = scalars[SCALE];
    to_mean /= scale[0]; //@if SCALED
    let norm = sqrt(total) * to_mean;
    var clip = 1.0;
    if (d.max_norm > 0.0) { clip = min(1.0, d.max_norm / (norm + 1e-6)); }
    let applied = finite(norm) && finite(loss[0]);
    clip = select(0.0, clip, applied);
    state[NORM] = norm;
    state[CLIP] = clip;
    state[APPLIED] = select(0.0, 1.0, applied);
    state[PAIR] = clamp(state[SKIPPED] - scalars[KNOWN_SKIPS], 0.0, 1.0);
    state[SKIPPED] += select(1.0, 0.0, applied);
    state[LOSS] = loss[0];
    state[FACTOR] = clip * to_mean;
    // The scale is at fault where it can be made smaller and the loss itself is finite.
    let lost = !applied && finite(loss[0]) && scale[0] > 1.0; //@if SCALED
    state[OVERFLOW] = select(0.0, 1.0, lost); //@if SCALED
    let steps = scale[1] + select(0.0, 1.0, applied); //@if SCALED
    let grows = steps >= d.patience; //@if SCALED
    scale[0] = select(select(scale[0], min(2.0 * scale[0], d.most), grows), 0.5 * scale[0], lost); //@if SCALED
    scale[1] = select(steps, 0.0, lost || grows); //@if SCALED
    scale[2] += state[OVERFLOW]; //@if SCALED
}
