// Sums of squares.   x (N) → partials[first+p] = Σ of x² over the p-th of P interleaved parts
//@import grid
const WG: u32 = 64u; //@param  threads a part, a power of two
//@import reduce

struct Dims { N: u32, P: u32, first: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(0) @binding(2) var<uniform> d: Dims;

// One workgroup a part.
@compute @workgroup_size(WG)
fn sum_squares(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
    let p = flat_group(wid, groups);
    if (p >= d.P) { return; }
    var sum = 0.0;
    for (var i = p * WG + lane; i < d.N; i += d.P * WG) {
        sum += x[i] * x[i];
    }
    let total = workgroup_sum(sum, lane);
    if (lane == 0u) { partials[d.first + p] = total; }
}
