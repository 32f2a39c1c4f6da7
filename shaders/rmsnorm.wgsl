// RMSNorm.   x (N,C)  w (C)  y (N,C)  rstd (N):   y = w · x · rstd,   rstd = 1/√(mean x² + eps)
//@import grid
const WG: u32 = 64u;            //@param  threads per row, a power of two
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it
//@import reduce

struct Dims { N: u32, C: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(4) var<uniform> d: Dims;

// One workgroup per row.
@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let n = flat_group(wid, groups);
    if (n >= d.N) { return; }
    let row = n * d.C;
    var sum = 0.0;
    for (var c = lane; c < d.C; c += WG) {
        sum += x[row + c] * x[row + c];
    }
    let r = inverseSqrt(workgroup_sum(sum, lane) / f32(d.C) + d.eps);
    for (var c = lane; c < d.C; c += WG) {
        y[row + c] = w[c] * x[row + c] * r;
    }
    if (lane == 0u) { rstd[n] = r; }
}
