// Matrix product in registers: a thread computes a tile of outputs and shares nothing, so that any adapter runs it.
//@import matmul
//@import matmul_scalar
const TILE_M: u32 = 32u; //@param  outputs of a workgroup: rows
const TILE_N: u32 = 32u; //@param  and columns
const WY: u32 = 8u;      //@param  threads down
const WX: u32 = 8u;      //@param  and across
const TM = TILE_M / WY;
const TN = TILE_N / WX;

@compute @workgroup_size(WX * WY)
fn matmul(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let across = (d.N + TILE_N - 1u) / TILE_N;
    let tile = flat_group(wid, groups);
    // Neighbours take neighbouring columns, so that what they load and store lies side by side.
    let m = tile / across * TILE_M + lane / WX * TM;
    let n = tile % across * TILE_N + lane % WX;
    if (m >= d.M || n >= d.N) { return; }

    var a_from: array<u32, TM>;
    var b_from: array<u32, TN>;
    var sum: array<f32, TM * TN>;
    for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
        a_from[i] = a_start(m + i);
    } //@end
    for (var j = 0u; j < TILE_N / WX; j++) { //@unroll
        b_from[j] = b_start(n + j * WX);
    } //@end
    for (var k = 0u; k < d.K; k++) {
        let a_skip = k * a_step();
        let b_skip = k * b_step();
        var x: array<f32, TM>;
        for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
            x[i] = a[a_from[i] + a_skip];
        } //@end
        for (var j = 0u; j < TILE_N / WX; j++) { //@unroll
            let y = b_at(b_from[j] + b_skip);
            for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
                sum[i * TN + j] = fma(x[i], y, sum[i * TN + j]);
            } //@end
        } //@end
    }
    for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
        for (var j = 0u; j < TILE_N / WX; j++) { //@unroll
            put(m + i, n + j * WX, sum[i * TN + j]);
        } //@end
    } //@end
}
