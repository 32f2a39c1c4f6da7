// Some columns of a matrix, and the way back.   whole (N,W)  part (N,C): columns from, …, from+C−1 of whole
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { N: u32, W: u32, C: u32, start: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> d: Dims;

// Where element i of part lies in whole.
fn wide(i: u32) -> u32 { return i / d.C * d.W + d.start + i % d.C; }

// part = those columns of whole. One thread per element of part.
@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N * d.C) { return; }
    y[i] = x[wide(i)];
}

// Those columns of whole += part.
@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N * d.C) { return; }
    y[wide(i)] += x[i];
}
