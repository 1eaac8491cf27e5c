/** Base colours of glTF materials: factors, textures, cut-outs; the twin of `mrd_hf.models.gltf_materials`. */

import { clip, linearToSrgb, round, srgbToLinear } from "../colors";
import { ShapeError, type Texture, type Wrap } from "../shapes";
import type { Companions } from "./companions";
import { dataUri, type GltfDocument, type Json } from "./gltf_document";

export interface Surface {
    /** Linear RGB, and opacity. */
    factor: number[];
    /** With the factor in it. */
    texture: Texture | null;
    uvSet: number;
    /** From texture coordinates to where they are: u' = a u + b v + c, v' = d u + e v + f. */
    place: [number, number, number, number, number, number];
    wrap: [Wrap, Wrap];
    alpha: "opaque" | "cut" | "blend";
    cutoff: number;
    isColored: boolean;
    takesVertexColors: boolean;
}

const WRAPS: Record<number, Wrap> = { 33071: "clamp", 33648: "mirror", 10497: "repeat", 10496: "clamp", 33069: "clamp" };
// Of linear light; what is no brighter is black.
const BLACK = 0.01;
// The opacity from which a point is no hole, as a share of 255.
const OPAQUE_FROM = 128 / 255;

export const WHITE: Surface = {
    factor: [1, 1, 1, 1],
    texture: null,
    uvSet: 0,
    place: [1, 0, 0, 0, 1, 0],
    wrap: ["repeat", "repeat"],
    alpha: "opaque",
    cutoff: 0.5,
    isColored: false,
    takesVertexColors: true,
};

export class GltfMaterials {
    private readonly surfaces = new Map<number, Surface>();
    private readonly images = new Map<number, Texture | null>();

    constructor(
        private readonly document: GltfDocument,
        private readonly files: Companions,
        private readonly warnings: string[],
    ) {}

    async surface(index: number | undefined): Promise<Surface> {
        if (index === undefined) return WHITE;
        let found = this.surfaces.get(index);
        if (!found) this.surfaces.set(index, (found = await this.read(this.document.item("materials", index))));
        return found;
    }

    private async read(material: Json): Promise<Surface> {
        const gloss: Json | undefined = material.extensions?.KHR_materials_pbrSpecularGlossiness;
        const base: Json = gloss ?? material.pbrMetallicRoughness ?? {};
        const factor: number[] | undefined = gloss ? base.diffuseFactor : base.baseColorFactor;
        const reference: Json | undefined = gloss ? base.diffuseTexture : base.baseColorTexture;
        const surface = await this.make(material, factor ?? [1, 1, 1, 1], reference);
        surface.isColored = factor !== undefined || reference !== undefined;
        const light: number[] = material.emissiveFactor ?? [0, 0, 0];
        // Many exporters write materials without light as black ones that emit.
        if (isBlack(surface) && Math.max(...light) > BLACK && !material.extensions?.KHR_materials_unlit) {
            const opacity = surface.alpha === "opaque" ? 1 : surface.factor[3];
            const emitting = await this.make(material, [...light.slice(0, 3), opacity], material.emissiveTexture);
            return { ...emitting, isColored: true, takesVertexColors: false };
        }
        return surface;
    }

    private async make(material: Json, color: number[], reference: Json | undefined): Promise<Surface> {
        const factor = color.length === 3 ? [...color, 1] : color;
        if (factor.length !== 4 || !factor.every(Number.isFinite)) throw new ShapeError("a material's colour is damaged");
        const surface: Surface = { ...WHITE, factor, isColored: true, cutoff: material.alphaCutoff ?? 0.5 };
        if (material.alphaMode === "BLEND") surface.alpha = "blend";
        if (material.alphaMode === "MASK" && surface.cutoff > 0) surface.alpha = "cut";
        if (!reference) return surface;
        const texture: Json = this.document.item("textures", reference.index);
        const source = texture.extensions?.EXT_texture_webp?.source ?? texture.extensions?.EXT_texture_avif?.source ?? texture.source;
        if (source === undefined) {
            this.warnings.push("a texture is of a kind that this page does not read (KTX2, or none)");
            return surface;
        }
        const texels = await this.image(source);
        if (!texels) return surface;
        const sampler: Json = texture.sampler === undefined ? {} : this.document.item("samplers", texture.sampler);
        const transform: Json = reference.extensions?.KHR_texture_transform ?? {};
        return {
            ...surface,
            texture: shaded(texels, surface),
            uvSet: transform.texCoord ?? reference.texCoord ?? 0,
            place: placeOf(transform),
            wrap: [WRAPS[sampler.wrapS] ?? "repeat", WRAPS[sampler.wrapT] ?? "repeat"],
        };
    }

    private async image(index: number): Promise<Texture | null> {
        if (!this.images.has(index)) {
            const image = this.document.item("images", index);
            const name = image.name ?? `image ${index}`;
            let data: Uint8Array | null = null;
            if (image.uri === undefined) data = this.document.view(image.bufferView);
            else if (image.uri.startsWith("data:")) data = dataUri(image.uri);
            else data = this.files.find(decodeURIComponent(image.uri));
            if (!data) this.warnings.push(`a texture is in ${image.uri}, which was not dropped with it`);
            this.images.set(index, data && (await this.files.tryDecode(data, name, this.warnings)));
        }
        return this.images.get(index)!;
    }
}

function isBlack(surface: Surface): boolean {
    if (!surface.texture) return Math.max(...surface.factor.slice(0, 3)) <= BLACK;
    const most = linearToSrgb(BLACK);
    return surface.texture.data.every((value, i) => i % 4 === 3 || value <= most);
}

function placeOf(transform: Json): Surface["place"] {
    const [x, y] = transform.offset ?? [0, 0];
    const [width, height] = transform.scale ?? [1, 1];
    const angle = transform.rotation ?? 0;
    const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
    return [cosine * width, sine * height, x, -sine * width, cosine * height, y];
}

/** The texture with the factor in it; its opacity is 0 or 1 but where it is cut. */
function shaded(texels: Texture, surface: Surface): Texture {
    const tables = [0, 1, 2, 3].map((channel) =>
        Uint8Array.from({ length: 256 }, (_, value) => {
            const level = value / 255;
            const factor = surface.factor[channel];
            if (channel < 3) return factor === 1 ? value : linearToSrgb(srgbToLinear(level) * factor);
            if (surface.alpha === "opaque") return 255;
            const opacity = level * factor;
            return round(clip(surface.alpha === "blend" ? Number(opacity > 0) : opacity, 0, 1) * 255);
        }),
    );
    return { ...texels, data: Uint8Array.from(texels.data, (value, i) => tables[i % 4][value]) };
}

/**
 * What corners multiply the texture with, or are coloured by where there is none; null for nothing.
 *
 * @param colors Linear vertex colours, `width` numbers each.
 * @returns Linear RGB and opacity, four numbers for each colour or, without any, four for all.
 */
export function tints(surface: Surface, colors: ArrayLike<number> | null, width: number): Float32Array | null {
    // Holes end at the cutoff; the texture, whose opacity is 0 to 1, cannot have this factor in it.
    const scale = surface.alpha === "cut" ? OPAQUE_FROM / surface.cutoff : 1;
    if (!colors && surface.texture && (surface.alpha !== "cut" || surface.cutoff === 0.5)) return null;
    const count = colors ? colors.length / width : 1;
    const found = new Float32Array(4 * count).fill(1);
    for (let i = 0; i < count; i++) {
        for (let c = 0; colors && c < width; c++) found[4 * i + c] = clip(colors[i * width + c], 0, 1);
        if (!surface.texture) for (let c = 0; c < 4; c++) found[4 * i + c] *= Math.fround(surface.factor[c]);
        const opacity = found[4 * i + 3];
        if (surface.alpha === "opaque") found[4 * i + 3] = 1;
        else found[4 * i + 3] = surface.alpha === "cut" ? opacity * scale : Number(opacity > 0) * 1e6;
    }
    return found;
}
