// Sum over rows.   x (N,C) → out (C)
//@import grid
const WG: u32 = 64u;            //@param  threads per workgroup
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it

struct Dims { N: u32, C: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> d: Dims;

// One thread per column.
@compute @workgroup_size(WG)
fn sum_rows(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let c = flat_group(wid, groups) * WG + lane;
    if (c >= d.C) { return; }
    var sum = 0.0;
    for (var n = 0u; n < d.N; n++) {
        sum += x[n * d.C + c];
    }
    if (ACCUMULATE) { out[c] += sum; } else { out[c] = sum; }
}
