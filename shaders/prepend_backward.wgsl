// The two parts of sequences with rows before them, and the way back.   whole (B·(P+T),C)
//   rows: out (P,C) = Σ_b the first P rows of whole[b]
//   rest: out (B·T,C) = the others
//   widen: of x (B·T,C), the others of out (B·(P+T),C) += x
//@import grid
const WG: u32 = 64u;            //@param  threads per workgroup
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it

struct Dims { B: u32, P: u32, T: u32, C: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> d: Dims;

// One thread per element of out.
@compute @workgroup_size(WG)
fn rows(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.P * d.C) { return; }
    var sum = 0.0;
    for (var b = 0u; b < d.B; b++) {
        sum += x[b * (d.P + d.T) * d.C + i];
    }
    if (ACCUMULATE) { out[i] += sum; } else { out[i] = sum; }
}

// Where element i of (B·T,C) lies in (B·(P+T),C).
fn wide(i: u32) -> u32 { return i + (i / (d.T * d.C) + 1u) * d.P * d.C; }

@compute @workgroup_size(WG)
fn rest(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.B * d.T * d.C) { return; }
    if (ACCUMULATE) { out[i] += x[wide(i)]; } else { out[i] = x[wide(i)]; }
}

@compute @workgroup_size(WG)
fn widen(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.B * d.T * d.C) { return; }
    out[wide(i)] += x[i];
}
