// Matrix product by quads of lanes, without workgroup memory. Each lane of a quad holds every fourth row of the
// tile's A and column of its B. A row times the columns of all four lanes, which quad swaps bring, makes a 4×4 outer
// product in four multiply-adds: nothing is loaded twice, and the sums of a lane lie on four diagonals.
// All rows in memory are multiples of 4 elements, read four at a time.
enable subgroups;
//@import matmul
const TILE_M: u32 = 16u; //@param  outputs of a quad: rows, a multiple of 16
const TILE_N: u32 = 16u; //@param  and columns, likewise
const TM = TILE_M / 4u;
const TN = TILE_N / 4u;

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
alias Four = vec4<u32>; //@if !B_PACKED
alias Four = vec2<u32>; //@if B_PACKED
@group(0) @binding(1) var<storage, read> b: array<Four>; //@if !B_QUANTIZED
@group(0) @binding(1) var<storage, read> b: array<u32>;  //@if B_QUANTIZED

fn word(i: u32) -> u32 {
    return b[i];     //@if B_QUANTIZED
    return b[i / 4u].x; //@if !B_QUANTIZED
}

// The four values from 4i on. Those of a quantised matrix are scaled by what scale_of found for them.
fn b_at(i: u32, scale: f32) -> vec4<f32> {
    if (B_QUANTIZED) { return four_at(4u * i, scale); }
    let w = vec4<u32>(); //@if B_QUANTIZED
    let w = b[i];        //@if !B_QUANTIZED
    return bitcast<vec4<f32>>(w);                                                              //@if !B_PACKED
    if (B_F16) { return vec4<f32>(f16_low(w.x), f16_high(w.x), f16_low(w.y), f16_high(w.y)); } //@if B_PACKED
    return vec4<f32>(bf16_low(w.x), bf16_high(w.x), bf16_low(w.y), bf16_high(w.y));            //@if B_PACKED
}

fn scale_of(i: u32) -> f32 {
    if (!B_QUANTIZED) { return 1.0; }
    return scale_at(4u * i, d.N * d.K, select(d.N, d.K, TRANS_B));
}

// The place in the tile of a lane's row or column i: where a load runs along k, the lanes hold neighbours;
// where it runs across, each holds four.
fn place(i: u32, lane: u32, along_k: bool) -> u32 {
    return select(i / 4u * 16u + lane * 4u + i % 4u, i * 4u + lane, along_k);
}

// The value of this lane, of the lane beside it, below it and across: lanes ^0, ^1, ^2 and ^3.
fn of_quad(v: f32) -> vec4<f32> {
    return vec4<f32>(v, quadSwapX(v), quadSwapY(v), quadSwapDiagonal(v));
}

@compute @workgroup_size(4)
fn matmul(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let across = (d.N + TILE_N - 1u) / TILE_N;
    let tile = flat_group(wid, groups);
    let m = tile / across * TILE_M;
    let n = tile % across * TILE_N;

    // Indices are in fours. Past the edge the last row or column is read; put drops what comes of it.
    var a_from: array<u32, TM>;
    var b_from: array<u32, TN>;
    for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
        a_from[i] = select(min(m + i * 4u + lane, d.M - 1u) * (d.K / 4u), min(m / 4u + i * 4u + lane, d.M / 4u - 1u), TRANS_A);
    } //@end
    for (var j = 0u; j < TILE_N / 4; j++) { //@unroll
        b_from[j] = select(min(n / 4u + j * 4u + lane, d.N / 4u - 1u), min(n + j * 4u + lane, d.N - 1u) * (d.K / 4u), TRANS_B);
    } //@end

    var x: array<vec4<f32>, TM>; // four of A in a row of memory; as many of them as a lane needs in this form
    var y: array<vec4<f32>, TN>;
    var scale: array<f32, TN>;   // of each of y; along k it stays the same for a while
    var sum: array<vec4<f32>, TM * TN>; // of row i and column j of the lanes ^0, ^1, ^2, ^3
    for (var k4 = 0u; k4 < d.K; k4 += 4u) {
        if (!TRANS_A) {
            for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
                x[i] = a[a_from[i] + k4 / 4u];
            } //@end
        }
        if (TRANS_B) {
            for (var j = 0u; j < TILE_N / 4; j++) { //@unroll
                let at = b_from[j] + k4 / 4u;
                if (B_QUANTIZED && (k4 == 0u || 4u * at % UNIT == 0u)) { scale[j] = scale_of(at); }
                y[j] = b_at(at, scale[j]);
            } //@end
        }
        for (var s = 0u; s < 4; s++) { //@unroll
            let k = min(k4 + s, d.K - 1u);
            if (TRANS_A) { // then K need not be a multiple of 4: what is past it counts as zero
                for (var i = 0u; i < TILE_M / 16; i++) { //@unroll
                    x[i] = select(vec4<f32>(), a[a_from[i] + k * (d.M / 4u)], k4 + s < d.K);
                } //@end
            }
            if (!TRANS_B) {
                for (var j = 0u; j < TILE_N / 16; j++) { //@unroll
                    let at = b_from[j] + k * (d.N / 4u);
                    y[j] = b_at(at, scale_of(at));
                } //@end
            }
            for (var j = 0u; j < TILE_N / 4; j++) { //@unroll
                let column = of_quad(y[select(j / 4u, j, TRANS_B)][select(j % 4u, s, TRANS_B)]);
                for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
                    let row = vec4<f32>(x[select(i, i / 4u, TRANS_A)][select(s, i % 4u, TRANS_A)]);
                    sum[i * TN + j] = fma(row, column, sum[i * TN + j]);
                } //@end
            } //@end
        } //@end
    }
    for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
        for (var j = 0u; j < TILE_N / 4; j++) { //@unroll
            for (var s = 0u; s < 4; s++) { //@unroll
                put(m + place(i, lane, !TRANS_A), n + place(j, lane ^ s, TRANS_B), sum[i * TN + j][s]);
            } //@end
        } //@end
    } //@end
}
