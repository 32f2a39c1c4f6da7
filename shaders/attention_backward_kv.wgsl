// Gradients of causal attention with respect to keys and values, summed over the queries of all heads that share them.
//   q, dout (B·T, H·D)   k, v, dk, dv (B·(P+T), Hkv·D)   positions (B·T)   stats (B·T·H): (lse, delta = o·dout)
//   dv = Σ_i p_i dout_i,   dk = scale · Σ_i ds_i q_i,   ds_i = p_i (dout_i·v − delta_i),   p_i = exp(scale · q_i·k − lse_i)
// Here the rows that a thread owns are keys, and the other side are the query rows that see them.
//@import grid
//@import attention
const ACCUMULATE: bool = false; //@param  add to the outputs instead of replacing them

@group(0) @binding(0) var<storage, read> q: array<V>;
@group(0) @binding(1) var<storage, read> k: array<V>;
@group(0) @binding(2) var<storage, read> v: array<V>;
@group(0) @binding(3) var<storage, read> positions: array<i32>;
@group(0) @binding(4) var<storage, read> dout: array<V>;
@group(0) @binding(5) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> dk: array<V>;
@group(0) @binding(7) var<storage, read_write> dv: array<V>;
@group(0) @binding(8) var<uniform> d: Dims;

var<workgroup> tile_q: array<V, TILE * VECS>;
var<workgroup> tile_dy: array<V, TILE * VECS>;
var<workgroup> partial: array<vec2<f32>, TILE * ROWS * WG>;

fn load_q(at: u32) -> V {
    return tile_q[at]; //@if TILED
    return q[at]; //@if !TILED
}

fn load_dy(at: u32) -> V {
    return tile_dy[at]; //@if TILED
    return dout[at]; //@if !TILED
}

// The first vector of query row n.
fn row_at(b: u32, head: u32, n: u32) -> u32 {
    let G = d.H / d.Hkv;
    return query_at(b, n / G, head * G + n % G);
}

// Brings the query rows n0, n0+1, … below end.
fn stage(b: u32, head: u32, n0: u32, end: u32, lane: u32) {
    workgroupBarrier();
    for (var e = lane; e < TILE * VECS; e += WG) {
        let at = row_at(b, head, min(n0 + e / VECS, end - 1u)) + e % VECS;
        tile_q[e] = q[at];
        tile_dy[e] = dout[at];
    }
    workgroupBarrier();
}

// The sums of what the threads of a key left in slot e.
fn gather(e: u32, lane: u32) -> vec2<f32> {
    let at = e * WG + lane / SPLIT * SPLIT;
    var sum = partial[at];
    for (var i = 1u; i < SPLIT; i++) {
        sum += partial[at + i];
    }
    return sum;
}

@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    var block = flat_group(wid, groups);
    block = block * WG + lane; //@if !TILED
    let G = d.H / d.Hkv;
    let keys = d.P + d.T;
    let blocks = (keys + BLOCK - 1u) / BLOCK;
    let b = block / blocks / d.Hkv;
    let head = block / blocks % d.Hkv;
    if (b >= d.B) { return; }
    let block_key = block % blocks * BLOCK;
    let first_key = block_key + select(0u, lane / SPLIT * ROWS, TILED);
    let slice = lane % SPLIT;

    var x: array<array<V, OWN>, ROWS>; // scale · k
    var y: array<array<V, OWN>, ROWS>; // v
    var acc_k: array<array<V, OWN>, ROWS>;
    var acc_v: array<array<V, OWN>, ROWS>;
    for (var r = 0u; r < ROWS; r++) { //@unroll
        // A key past the end repeats the last and is not stored.
        let at = key_at(b, min(first_key + r, keys - 1u), head) + slice;
        for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
            x[r][c] = k[at + c * SPLIT] * d.scale;
            y[r][c] = v[at + c * SPLIT];
        } //@end
    } //@end

    // The queries that see a key of the block are those from lo on, and if it holds none of the prefix, only
    // those that see positions from its last key or an earlier one on. No query sees earlier positions than one before it.
    let lo = max(block_key, d.P) - d.P;
    let last = max(min(block_key + BLOCK, keys), d.P + 1u) - d.P - 1u;
    var hi = d.T;
    if (block_key >= d.P) { hi = min(d.T, last + d.W); } //@if WINDOW
    if (block_key >= d.P) {                                                //@if TILED
        let end = hi;                                                      //@if TILED
        hi = lo + 1u;                                                      //@if TILED
        for (var i = lo + lane; i < end; i += WG) {                        //@if TILED
            if (start_of(b * d.T + i, i) <= last) { hi = i + 1u; }         //@if TILED
        }                                                                  //@if TILED
    }                                                                      //@if TILED
    hi = workgroup_largest(hi, lane); //@if TILED

    for (var n0 = lo * G; n0 < hi * G; n0 += TILE) {
        let first_i = n0 / G; //@if !TILED
        if (block_key >= d.P && start_of(b * d.T + first_i, first_i) > last) { break; } //@if !TILED
        stage(b, head, n0, hi * G, lane); //@if TILED
        const jj = 0u; //@if !TILED
        var s: array<vec2<f32>, ROWS>; // (scale · q·k, dout·v)
        var query: array<V, OWN>;
        var dy: array<V, OWN>;
        for (var jj = 0u; jj < TILE; jj++) { //@if TILED
            let at = select(row_at(b, head, n0), jj * VECS + slice, TILED);
            for (var r = 0u; r < ROWS; r++) { //@unroll
                s[r] = vec2<f32>();
            } //@end
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                query[c] = load_q(at + c * SPLIT);
                dy[c] = load_dy(at + c * SPLIT);
                for (var r = 0u; r < ROWS; r++) { //@unroll
                    s[r] += vec2<f32>(dot(x[r][c], query[c]), dot(y[r][c], dy[c]));
                } //@end
            } //@end
            for (var r = 0u; r < ROWS; r++) { //@unroll
                partial[(jj * ROWS + r) * WG + lane] = s[r]; //@if TILED
            } //@end
        } //@if TILED
        workgroupBarrier(); //@if TILED
        for (var jj = 0u; jj < TILE; jj++) { //@if TILED
            let n = min(n0 + jj, hi * G - 1u);
            let i = n / G;
            let start = start_of(b * d.T + i, i);
            let stat = stats[row_at(b, head, n) / VECS];
            var p: array<f32, ROWS>;
            var ds: array<f32, ROWS>;
            for (var r = 0u; r < ROWS; r++) { //@unroll
                s[r] = gather(jj * ROWS + r, lane); //@if TILED
                p[r] = 0.0;
                if (n == n0 + jj && seen(first_key + r, start, i)) { p[r] = exp(s[r].x - stat.x); }
                ds[r] = p[r] * (s[r].y - stat.y);
            } //@end
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                query[c] = load_q(jj * VECS + slice + c * SPLIT); //@if TILED
                dy[c] = load_dy(jj * VECS + slice + c * SPLIT); //@if TILED
                for (var r = 0u; r < ROWS; r++) { //@unroll
                    acc_k[r][c] += ds[r] * query[c];
                    acc_v[r][c] += p[r] * dy[c];
                } //@end
            } //@end
        } //@if TILED
    }

    for (var r = 0u; r < ROWS; r++) { //@unroll
        if (first_key + r < keys) {
            let at = key_at(b, first_key + r, head) + slice;
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                let dx = acc_k[r][c] * d.scale;
                let dy = acc_v[r][c];
                if (ACCUMULATE) { dk[at + c * SPLIT] += dx; } else { dk[at + c * SPLIT] = dx; }
                if (ACCUMULATE) { dv[at + c * SPLIT] += dy; } else { dv[at + c * SPLIT] = dy; }
            } //@end
        }
    } //@end
}
