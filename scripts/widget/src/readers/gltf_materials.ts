/** Base colours of glTF materials: factors, textures, cut-outs; the twin of `mrd_hf.models.gltf_materials`. */

import { clip, linearToSrgb, round, srgbToLinear } from "../colors";
import { ShapeError, type Texture, type Wrap } from "../shapes";
import type { GltfDocument, Json } from "./gltf_document";

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
// What is no metal reflects less than this of the light that falls on it straight.
const METAL = 0.1;
// Other encodings of a texture's image, best first; those that the browser does not decode are passed over.
const IMAGE_EXTENSIONS = ["EXT_texture_webp", "EXT_texture_avif", "EXT_texture_qoi", "MSFT_texture_dds"];
const SPECULAR_GLOSSINESS = "KHR_materials_pbrSpecularGlossiness";
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
    private readonly images = new Map<string, Texture | null>();
    private readonly shadedImages = new Map<Texture, Map<string, Texture>>();

    constructor(
        private readonly document: GltfDocument,
        private readonly warnings: string[],
    ) {}

    async surface(index: number | undefined): Promise<Surface> {
        if (index === undefined) return WHITE;
        let found = this.surfaces.get(index);
        if (!found) this.surfaces.set(index, (found = await this.read(this.document.item("materials", index))));
        return found;
    }

    /** Of what is black, and would be so in any light, what viewers show counts: a metal's colour, or what it emits. */
    private async read(material: Json): Promise<Surface> {
        const extensions: Json = material.extensions ?? {};
        const gloss: Json | undefined = extensions[SPECULAR_GLOSSINESS];
        const metallic: Json = material.pbrMetallicRoughness ?? {};
        const factor: number[] | undefined = gloss ? gloss.diffuseFactor : metallic.baseColorFactor;
        const reference: Json | undefined = gloss ? gloss.diffuseTexture : metallic.baseColorTexture;
        const base = await this.make(material, numbers(factor?.length === 3 ? [...factor, 1] : factor, [1, 1, 1, 1]), reference);
        base.isColored = factor !== undefined || reference !== undefined;
        let [other, its]: [number[] | null, Json | undefined] = [colorOfMetal(gloss), gloss?.specularGlossinessTexture];
        if (!other && !("KHR_materials_unlit" in extensions)) [other, its] = [colorOfLight(material), material.emissiveTexture];
        if (!other || !isBlack(base)) return base;
        // The opacity is the base colour's; another texture's fourth channel means something else, or nothing.
        const opacity = !base.texture || base.alpha === "opaque" ? base.factor[3] : 1;
        const hasOpacity = its?.index !== undefined && its.index === reference?.index;
        const surface = await this.make(material, [...other, opacity], its, hasOpacity);
        return { ...surface, takesVertexColors: false };
    }

    private async make(material: Json, factor: number[], reference: Json | undefined, hasOpacity = true): Promise<Surface> {
        const surface: Surface = { ...WHITE, factor, isColored: true, cutoff: material.alphaCutoff ?? 0.5 };
        if (material.alphaMode === "BLEND") surface.alpha = "blend";
        if (material.alphaMode === "MASK" && surface.cutoff > 0) surface.alpha = "cut";
        if (!reference) return surface;
        let found: { texels: Texture; wrap: [Wrap, Wrap] } | null = null;
        try {
            found = await this.texture(reference.index);
            if (found) found.texels = this.shaded(found.texels, surface, hasOpacity);
        } catch (error) {
            found = null;
            // It names what does not exist, or there are too many: the shape is read without it.
            if (!(error instanceof ShapeError)) throw error;
            this.warnings.push(`a texture cannot be read: ${error.message}`);
        }
        if (!found) return surface;
        const transform: Json = reference.extensions?.KHR_texture_transform ?? {};
        return {
            ...surface,
            texture: found.texels,
            uvSet: transform.texCoord ?? reference.texCoord ?? 0,
            place: placeOf(transform),
            wrap: found.wrap,
        };
    }

    /** One for each picture and what is done to it, which materials share. */
    private shaded(texels: Texture, surface: Surface, hasOpacity: boolean): Texture {
        const made = this.shadedImages.get(texels) ?? new Map<string, Texture>();
        this.shadedImages.set(texels, made);
        const key = [...surface.factor, surface.alpha, hasOpacity].join();
        const known = made.get(key);
        if (known) return known;
        const source = hasOpacity || isOpaque(texels) ? texels : opaque(texels);
        const changes = surface.alpha !== "opaque" || surface.factor.slice(0, 3).some((value) => value !== 1) || !isOpaque(source);
        if (changes) this.document.files.takeTexels(texels.width * texels.height);
        const found = changes ? shaded(source, surface) : source;
        made.set(key, found);
        return found;
    }

    private async texture(index: unknown): Promise<{ texels: Texture; wrap: [Wrap, Wrap] } | null> {
        const texture = this.document.item("textures", index);
        const sampler: Json = texture.sampler === undefined ? {} : this.document.item("samplers", texture.sampler);
        const wrap: [Wrap, Wrap] = [WRAPS[sampler.wrapS] ?? "repeat", WRAPS[sampler.wrapT] ?? "repeat"];
        const sources: number[] = [...IMAGE_EXTENSIONS.map((name) => texture.extensions?.[name]?.source), texture.source];
        // Last, as it is of less detail.
        sources.push(texture.extensions?.KHR_texture_basisu?.source);
        for (const source of sources) {
            const texels = source === undefined ? null : await this.image(source);
            if (texels) return { texels, wrap };
        }
        if (sources.every((source) => source === undefined)) {
            this.warnings.push("a texture names no image");
        }
        return null;
    }

    /** Texels, or null and a warning. */
    private async image(index: number): Promise<Texture | null> {
        const image = this.document.item("images", index);
        // Several may be one picture.
        const { buffer, byteOffset, byteLength }: Json = this.document.json.bufferViews?.[image.bufferView] ?? {};
        const place: string = image.uri ?? `buffer ${buffer} ${byteOffset ?? 0} ${byteLength} ${buffer === undefined ? image.bufferView : ""}`;
        if (!this.images.has(place)) {
            this.images.set(place, null);
            const name = image.name ?? `image ${index}`;
            try {
                const isInside = image.uri === undefined;
                const data = isInside ? this.document.view(image.bufferView) : this.document.content(image.uri);
                if (data) this.images.set(place, await this.document.files.tryDecode(data, name, this.warnings));
                else this.warnings.push(`a texture is in ${image.uri}, which was not dropped with it`);
            } catch (error) {
                if (!(error instanceof ShapeError)) throw error;
                this.warnings.push(`a texture cannot be read: ${name} (${error.message})`);
            }
        }
        return this.images.get(place)!;
    }
}

/** What a metal reflects, in specular-glossiness, or null for another surface. */
function colorOfMetal(gloss: Json | undefined): number[] | null {
    if (!gloss || !("specularFactor" in gloss || "specularGlossinessTexture" in gloss)) return null;
    const color = numbers(gloss.specularFactor, [1, 1, 1]);
    return Math.max(...color) > METAL ? color : null;
}

/** What a material emits, or null for nothing. */
function colorOfLight(material: Json): number[] | null {
    const color = numbers(material.emissiveFactor, [0, 0, 0]);
    const strength = Math.min(material.extensions?.KHR_materials_emissive_strength?.emissiveStrength ?? 1, 1);
    return Math.max(...color) > BLACK ? color.map((value) => value * strength) : null;
}

/** Numbers of a material, as many as the default has. */
function numbers(values: unknown, otherwise: number[]): number[] {
    if (values === undefined) return otherwise;
    if (Array.isArray(values) && values.length === otherwise.length && values.every((value) => Number.isFinite(value))) return values;
    throw new ShapeError("a material's colour is damaged");
}

function opaque(texels: Texture): Texture {
    return { ...texels, data: Uint8Array.from(texels.data, (value, i) => (i % 4 === 3 ? 255 : value)) };
}

function isOpaque({ data }: Texture): boolean {
    for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return false;
    return true;
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
