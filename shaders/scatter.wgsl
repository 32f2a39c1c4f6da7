// New rows into a cache of len rows a batch row.   x (N,C)   position (N)   cache (B·len, C), rows = N/B
//   cache[n / rows · len + position[n]] = x[n]
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { N: u32, C: u32, rows: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> position: array<u32>;
@group(0) @binding(2) var<storage, read_write> cache: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

// One thread per element. Read unsigned, a negative position is beyond the cache too.
@compute @workgroup_size(WG)
fn scatter(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let at = flat_group(wid, groups) * WG + lane;
    let n = at / d.C;
    if (n >= d.N || position[n] >= d.len) { return; }
    cache[(n / d.rows * d.len + position[n]) * d.C + at % d.C] = x[at];
}
