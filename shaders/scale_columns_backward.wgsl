// Products of two matrices' columns, in parts.   x, y (N,C)  parts (P,C):   Σ_n x[n,c] · y[n,c] over every P-th row
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { N: u32, C: u32, P: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

// One thread per column of a part.
@compute @workgroup_size(WG)
fn dots(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.P * d.C) { return; }
    let c = i % d.C;
    var sum = 0.0;
    for (var n = i / d.C; n < d.N; n += d.P) {
        sum += x[n * d.C + c] * y[n * d.C + c];
    }
    parts[i] = sum;
}
