/** What a shape may be among labels, and what of a collection is near it; the twin of `mrd_hf.models.label_ranking`. */

import type { Hit, Ranked } from "./protocol";

/** The embeddings of labels or of a collection, normalised, row after row. */
export interface Table {
    embeds: Float32Array;
    width: number;
}

export function normalized(embed: Float32Array): Float32Array {
    const length = Math.max(Math.sqrt(embed.reduce((sum, value) => sum + value * value, 0)), 1e-12);
    return embed.map((value) => value / length);
}

export function cosines(query: Float32Array, { embeds, width }: Table): Float64Array {
    const found = new Float64Array(embeds.length / width);
    for (let row = 0; row < found.length; row++) {
        let sum = 0;
        for (let i = 0; i < width; i++) sum += embeds[row * width + i] * query[i];
        found[row] = sum;
    }
    return found;
}

/** Shares that add up to 1 over all labels, the likeliest first. */
export function rankLabels(embed: Float32Array, labels: string[], table: Table, logitScale: number): Ranked[] {
    const similar = cosines(normalized(embed), table);
    const most = similar.reduce((a, b) => Math.max(a, b), -Infinity);
    const weights = similar.map((value) => Math.exp(logitScale * (value - most)));
    const total = weights.reduce((sum, value) => sum + value, 0);
    return labels
        .map((label, i) => ({ label, score: weights[i] / total, i }))
        .sort((a, b) => similar[b.i] - similar[a.i] || a.i - b.i)
        .map(({ label, score }) => ({ label, score }));
}

export function nearest(embed: Float32Array, items: { name: string; url: string | null }[], table: Table, count: number): Hit[] {
    const similar = cosines(normalized(embed), table);
    const order = Array.from(similar.keys()).sort((a, b) => similar[b] - similar[a] || a - b);
    return order.slice(0, count).map((row) => ({ ...items[row], cosine: similar[row] }));
}
