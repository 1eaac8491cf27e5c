/**
 * numpy's `default_rng(0)`: what Python draws of a surface, and keeps of a cloud, is drawn and kept here as well.
 *
 * Source: PCG64 of O'Neill (2014) with the output function XSL-RR; what numpy makes of its bits, in the order in which
 * it does.
 */

const MASK_64 = (1n << 64n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
// Of the seed 0, as numpy's SeedSequence spreads it.
const STATE = 0x1aa1b5345996452d09585eb7a69561e3n;
const INCREMENT = 0x418ddadb3af71a82588133bc447873a9n;

export class Generator {
    private state = STATE;
    private high: number | null = null;

    private next64(): bigint {
        this.state = BigInt.asUintN(128, this.state * MULTIPLIER + INCREMENT);
        const mixed = (this.state >> 64n) ^ (this.state & MASK_64);
        const turn = this.state >> 122n;
        return BigInt.asUintN(64, (mixed >> turn) | (mixed << (64n - turn)));
    }

    /** Half of a draw of 64 bits, the lower one first. */
    private next32(): number {
        if (this.high !== null) {
            const kept = this.high;
            this.high = null;
            return kept;
        }
        const drawn = this.next64();
        this.high = Number(drawn >> 32n);
        return Number(drawn & 0xffffffffn);
    }

    /** `count` doubles in 0..1, without 1. */
    random(count: number): Float64Array {
        const values = new Float64Array(count);
        for (let i = 0; i < count; i++) values[i] = Number(this.next64() >> 11n) / 2 ** 53;
        return values;
    }

    /** 0 to `count - 1` in random order. */
    permutation(count: number): Uint32Array {
        const order = Uint32Array.from({ length: count }, (_, i) => i);
        for (let i = count - 1; i > 0; i--) {
            const j = this.below(i + 1);
            [order[i], order[j]] = [order[j], order[i]];
        }
        return order;
    }

    /** By rejection of what is beyond, among the numbers of as many bits. */
    private below(limit: number): number {
        const mask = 2 ** (32 - Math.clz32(limit - 1)) - 1;
        for (;;) {
            const drawn = (this.next32() & mask) >>> 0;
            if (drawn < limit) return drawn;
        }
    }
}
