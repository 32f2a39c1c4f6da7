// Gradient of an embedding.   dy (N,C)  ids, order (N)  starts (N+1)  dtable (V,C):   dtable[ids[n]] += dy[n]
// order lists the positions n by token, starts where each distinct token begins in it, then N.
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { N: u32, V: u32, C: u32 }

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> dtable: array<f32>;
@group(0) @binding(5) var<uniform> d: Dims;

// One thread per column of a distinct token, so that no two write to the same place.
@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N * d.C) { return; }
    let first = starts[i / d.C];
    let end = min(starts[i / d.C + 1u], d.N);
    if (first >= end) { return; }
    let c = i % d.C;
    var sum = 0.0;
    for (var k = first; k < end; k++) {
        sum += dy[order[k] * d.C + c];
    }
    dtable[min(ids[order[first]], d.V - 1u) * d.C + c] += sum;
}
