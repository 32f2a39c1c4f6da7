// Sums of squares.   x (N) → partials[first+p] = Σ of x² over the p-th of P interleaved parts
//@import grid
//@import narrow
const WG: u32 = 64u;          //@param  threads per part, a power of two
const X_PACKED: bool = false; //@param  x holds bfloat16, two in a word
const X_F16: bool = false;    //@param  or binary16
//@import reduce

struct Dims { N: u32, P: u32, first: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>; // f32 bits, or pairs
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(0) @binding(2) var<uniform> d: Dims;

fn x_at(i: u32) -> f32 {
    if (X_F16) { return f16_of(x[i / 2u], i); }
    if (X_PACKED) { return bf16_of(x[i / 2u], i); }
    return bitcast<f32>(x[i]);
}

// One workgroup per part.
@compute @workgroup_size(WG)
fn sum_squares(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
    let p = flat_group(wid, groups);
    if (p >= d.P) { return; }
    var sum = 0.0;
    for (var i = p * WG + lane; i < d.N; i += d.P * WG) {
        let v = x_at(i);
        sum += v * v;
    }
    let total = workgroup_sum(sum, lane);
    if (lane == 0u) { partials[d.first + p] = total; }
}
