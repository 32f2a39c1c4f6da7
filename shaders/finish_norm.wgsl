// Gradient norm and what follows from it.   partials (N)  loss (1)  scalars, state (8)
//   norm = √(Σ partials) · scale,   clip = min(1, max_norm / (norm + 1e-6));   a norm or loss that is not finite skips the step
const WG: u32 = 64u; //@param  threads, a power of two
//@import reduce
//@import finite
//@import update

struct Dims { N: u32, max_norm: f32 }

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read> loss: array<f32>;
@group(0) @binding(2) var<storage, read> scalars: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<uniform> d: Dims;

// One workgroup.
@compute @workgroup_size(WG)
fn finish_norm(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < d.N; i += WG) {
        sum += partials[i];
    }
    let total = workgroup_sum(sum, lane);
    if (lane != 0u) { return; }
    let norm = sqrt(total) * scalars[SCALE];
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
    state[FACTOR] = clip * scalars[SCALE];
}
