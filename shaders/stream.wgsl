// y[i] = x[i], four numbers at a time.   x (N) → y (N), N a multiple of 4
// Nothing is computed: this is the fastest that a shader moves memory.
//@import grid
const WG: u32 = 64u;        //@param  threads per workgroup
const EACH: u32 = 4u;       //@param  fours of a thread
const BESIDE: bool = true;  //@param  the fours of neighbouring threads lie side by side, else those of one thread do

struct Dims { N: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> d: Dims;

@compute @workgroup_size(WG)
fn stream(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let first = flat_group(wid, groups) * WG * EACH + select(lane * EACH, lane, BESIDE);
    let step = select(1u, WG, BESIDE);
    let end = d.N / 4u;
    if (first + (EACH - 1u) * step < end) {
        for (var e = 0u; e < EACH; e++) { //@unroll
            y[first + e * step] = x[first + e * step];
        } //@end
        return;
    }
    for (var i = first; i < min(first + EACH * step, end); i += step) {
        y[i] = x[i];
    }
}
