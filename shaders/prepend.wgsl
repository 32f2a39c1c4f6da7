// Rows before each sequence.   rows (P,C)  x (B·T,C)  y (B·(P+T),C):   y[b] = rows, then x[b]
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { B: u32, P: u32, T: u32, C: u32 }

@group(0) @binding(0) var<storage, read> rows: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

// One thread per element.
@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    let sequence = (d.P + d.T) * d.C;
    if (i >= d.B * sequence) { return; }
    let at = i % sequence;
    if (at < d.P * d.C) {
        y[i] = rows[at];
    } else {
        y[i] = x[i / sequence * d.T * d.C + at - d.P * d.C];
    }
}
