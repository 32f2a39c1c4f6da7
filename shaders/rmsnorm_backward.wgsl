// Gradients of RMSNorm.   dy, x, dx (N,C)  w (C)  rstd (N)
//   dx = rstd · (w·dy − x · rstd² · mean_c(w·dy·x))
//   dw = Σ_n dy · x · rstd, in two steps: each of the P parts sums its share of the rows, then the parts are added.
//@import grid
const WG: u32 = 64u;            //@param  threads per row, a power of two
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it
//@import reduce

struct Dims { N: u32, C: u32, eps: f32, P: u32 }

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> d: Dims;

// One workgroup per row.
@compute @workgroup_size(WG)
fn backward_x(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let n = flat_group(wid, groups);
    if (n >= d.N) { return; }
    let row = n * d.C;
    let r = rstd[n];
    var dot = 0.0;
    for (var c = lane; c < d.C; c += WG) {
        dot += w[c] * dy[row + c] * x[row + c];
    }
    let mean = workgroup_sum(dot, lane) / f32(d.C) * r * r;
    for (var c = lane; c < d.C; c += WG) {
        let dx = r * (w[c] * dy[row + c] - x[row + c] * mean);
        if (ACCUMULATE) { out[row + c] += dx; } else { out[row + c] = dx; }
    }
}

// One thread for a column of a part: out is parts (P,C).
@compute @workgroup_size(WG)
fn backward_w(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.P * d.C) { return; }
    let c = i % d.C;
    var sum = 0.0;
    for (var n = i / d.C; n < d.N; n += d.P) {
        sum += dy[n * d.C + c] * x[n * d.C + c] * rstd[n];
    }
    out[i] = sum;
}
