// y[i] = the mean of accumulators that each took v ← m·v + c many times.   → y (N)
// Nothing but registers is used in the loop: this is the most multiply-adds that an adapter can do.
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup
const ACC: u32 = 4u; //@param  accumulators of four numbers a thread, a divisor of 16

struct Dims { N: u32, turns: u32, m: f32, c: f32 }

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> d: Dims;

// One thread per element; 16 vector multiply-adds a turn, whatever ACC is.
@compute @workgroup_size(WG)
fn peak(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N) { return; }
    // They start apart, so that no compiler takes them for one.
    var v: array<vec4<f32>, ACC>;
    for (var a = 0u; a < ACC; a++) { //@unroll
        v[a] = f32(i) + f32(a) * vec4<f32>(1.0, 2.0, 3.0, 4.0);
    } //@end
    let m = vec4<f32>(d.m);
    let c = vec4<f32>(d.c);
    for (var n = 0u; n < d.turns; n++) {
        for (var r = 0u; r < 16u / ACC; r++) { //@unroll
            for (var a = 0u; a < ACC; a++) { //@unroll
                v[a] = fma(v[a], m, c);
            } //@end
        } //@end
    }
    var sum = vec4<f32>(0.0);
    for (var a = 0u; a < ACC; a++) { //@unroll
        sum += v[a];
    } //@end
    y[i] = dot(sum, vec4<f32>(0.25 / f32(ACC)));
}
