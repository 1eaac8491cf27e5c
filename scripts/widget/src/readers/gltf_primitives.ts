/** What a glTF primitive is made of: attributes, indices, morph targets, joints; the twin of `mrd_hf.models.gltf_primitives`. */

import { ShapeError } from "../shapes";
import { ofRows, type Accessor, type GltfDocument, type Json, type Rows, type UnpackedPrimitive } from "./gltf_document";
import { moved, type PlacedMesh } from "./gltf_nodes";

export const [POINTS, TRIANGLES, STRIP, FAN] = [0, 4, 5, 6];
const MAX_SETS = 8;

export class GltfPrimitive {
    readonly mode: number;
    readonly names: Json;
    private readonly packed: UnpackedPrimitive | null;
    /** Of a list that many primitives share, as some exporters write it, the vertices that this one has; null: all. */
    private used: Rows = null;

    constructor(
        private readonly document: GltfDocument,
        readonly json: Json,
        /** Of its morph targets. */
        private readonly weights: unknown[],
    ) {
        this.packed = document.unpacked(json);
        const mode: number = json.mode ?? TRIANGLES;
        // Draco stores triangles, also where they once were a strip.
        this.mode = this.packed && mode !== POINTS ? TRIANGLES : mode;
        this.names = json.attributes ?? {};
    }

    has(name: string): boolean {
        return this.names[name] !== undefined;
    }

    /** An element for each vertex that `indices` are of, with its morph targets. */
    attribute(name: string, widths: number[], normalizes = false): Accessor {
        const unpacked = this.packed?.attributes.get(name);
        if ((unpacked?.count ?? this.document.count(this.names[name])) !== this.count()) {
            throw new ShapeError("an attribute has another number of elements than its positions");
        }
        const found = unpacked
            ? this.document.asMeant(ofRows(unpacked, this.used), this.names[name], normalizes, unpacked.isInteger)
            : this.document.accessor(this.names[name], normalizes, this.used);
        if (!widths.includes(found.width)) throw new ShapeError(`its ${name} is damaged`);
        const targets: Json[] = this.json.targets ?? [];
        return targets.reduce<Accessor>((values, target, i) => this.morphed(values, target[name], this.weights[i] ?? 0), found);
    }

    private morphed(values: Accessor, target: unknown, weight: unknown): Accessor {
        if (typeof weight !== "number") throw new ShapeError("a weight of a morph target is no number");
        if (target === undefined || !weight) return values;
        const { count, width, values: steps } = this.document.accessor(target, false, this.used);
        if (this.document.count(target) !== this.count() || width > values.width) {
            throw new ShapeError("a morph target does not fit its mesh");
        }
        const found = values.values.slice();
        for (let row = 0; row < count; row++) {
            for (let k = 0; k < width; k++) found[row * values.width + k] += weight * steps[row * width + k];
        }
        return { ...values, values: found };
    }

    /** Of the list of its vertices, as it is stored. */
    private count(): number {
        return this.packed?.attributes.get("POSITION")?.count ?? this.document.count(this.names.POSITION);
    }

    /** Which of the vertices that attributes are of its corners or points are. */
    indices(): ArrayLike<number> {
        const count = this.count();
        const found = this.storedIndices();
        if (!found) return Float64Array.from({ length: count }, (_, i) => i);
        for (let i = 0; i < found.length; i++) {
            if (!(found[i] >= 0 && found[i] < count)) throw new ShapeError(`a face names a vertex that does not exist (${found[i]})`);
        }
        if (2 * found.length >= count) return found;
        const used = [...new Set(found)];
        const places = new Map(used.map((vertex, place) => [vertex, place]));
        this.used = used;
        return found.map((vertex) => places.get(vertex)!);
    }

    private storedIndices(): Float64Array | null {
        if (this.packed) return this.mode === POINTS ? null : (this.packed.indices ?? new Float64Array());
        return this.json.indices === undefined ? null : this.document.stored(this.json.indices).values;
    }

    /**
     * Where its nodes or, of a skinned mesh, its joints put the vertices that `indices` name: once for each instance, so that
     * what is read of them can be counted before the next one takes memory.
     */
    *placed(positions: Float64Array, indices: ArrayLike<number>, { transforms, joints }: PlacedMesh): Generator<Float64Array> {
        const sets = Array.from({ length: MAX_SETS }, (_, n) => n).filter((n) => this.has(`JOINTS_${n}`) && this.has(`WEIGHTS_${n}`));
        if (!joints || !sets.length) {
            for (const transform of transforms) yield moved(positions, transform);
            return;
        }
        const count = positions.length / 3;
        const found = new Float64Array(positions.length);
        const totals = new Float64Array(count);
        const isUsed = new Uint8Array(count);
        for (let i = 0; i < indices.length; i++) isUsed[indices[i]] = 1;
        const matrices = joints.map((joint) => Float64Array.from(joint));
        for (const n of sets) {
            const names = this.joints(`JOINTS_${n}`);
            const { values: weights } = this.attribute(`WEIGHTS_${n}`, [4]);
            for (let i = 0; i < 4 * count; i++) {
                const [vertex, weight] = [i >> 2, weights[i]];
                totals[vertex] += weight;
                // Slots that are not used may hold anything.
                if (weight === 0 || !isUsed[vertex]) continue;
                const m = matrices[names[i]];
                if (!m) throw new ShapeError(`a vertex names a joint that its skin lacks (it has ${joints.length})`);
                const [x, y, z] = positions.subarray(3 * vertex, 3 * vertex + 3);
                for (let axis = 0; axis < 3; axis++) {
                    found[3 * vertex + axis] += weight * (m[axis] * x + m[4 + axis] * y + m[8 + axis] * z + m[12 + axis]);
                }
            }
        }
        yield found.map((value, i) => (totals[Math.floor(i / 3)] > 0 ? value / totals[Math.floor(i / 3)] : positions[i]));
    }

    private joints(name: string): Float64Array {
        const unpacked = this.packed?.attributes.get(name);
        const { values, width } = unpacked ? ofRows(unpacked, this.used) : this.document.stored(this.names[name], this.used);
        const count = unpacked?.count ?? this.document.count(this.names[name]);
        if (width !== 4 || count !== this.count()) throw new ShapeError(`its ${name} is damaged`);
        return values;
    }
}

/** Places of corners, three a triangle, in a list of `indices`: those. */
export function faceCorners(mode: number, indices: ArrayLike<number>): ArrayLike<number> {
    const count = indices.length;
    if (mode === TRIANGLES) return Array.prototype.slice.call(indices, 0, count - (count % 3));
    const corners: number[] = [];
    for (let i = 0; i + 2 < count; i++) {
        const odd = mode === STRIP ? i % 2 : 0;
        corners.push(indices[mode === FAN ? 0 : i], indices[i + 1 + odd], indices[i + 2 - odd]);
    }
    return corners;
}
