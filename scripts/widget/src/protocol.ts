/** What the page and its worker say to each other. */

/** The file widget.json beside the page; each address is relative to the page. */
export interface WidgetSettings {
    title: string;
    /** Folder of an encoder that `mrd-hf export` wrote. */
    encoder: string;
    /** A collection's facts, whose embeddings lie beside them. */
    collection: string | null;
}

export interface Ranked {
    label: string;
    score: number;
}

export interface Hit {
    name: string;
    url: string | null;
    cosine: number;
}

/** A shape to draw, y up, in the unit sphere about the mean of its points. */
export interface ShapeView {
    /** Six numbers a point: xyz, rgb in 0..1. */
    points: Float32Array;
    /** Empty where it is a cloud, or too large to be drawn. */
    parts: ViewPart[];
    /** Each once, however many parts have it. */
    textures: ViewTexture[];
}

/** sRGB and opacity, top row first. */
export interface ViewTexture {
    width: number;
    height: number;
    data: Uint8Array;
}

export interface ViewPart {
    positions: Float32Array;
    colors: Uint8Array;
    uv: Float32Array | null;
    /** Its place among the textures. */
    texture: number | null;
    wrap: [string, string];
}

/** Each but the first is answered, one after the other; a shape under the number that it came with. */
export type ToWorker =
    | { type: "load"; settings: WidgetSettings; base: string; isCareful: boolean }
    | { type: "read"; number: number; files: Map<string, File> }
    | { type: "textSize" }
    | { type: "texts"; labels: string[] }
    | { type: "ownLabels" };

export type FromWorker =
    | { type: "progress"; text: string; share: number | null }
    | {
          type: "ready";
          name: string;
          /** What computes. */
          by: string;
          numPoints: number;
          numLabels: number;
          collection: number;
          /** Why the collection cannot be searched. */
          problem: string | null;
          hasTextModels: boolean;
      }
    | { type: "shape"; number: number; name: string; view: ShapeView; facts: string; warnings: string[] }
    | {
          type: "result";
          number: number;
          name: string;
          ranked: Ranked[];
          hits: Hit[];
          seconds: number;
          embedding: Float32Array;
          by: string;
      }
    | { type: "textSize"; model: string; bytes: number }
    | { type: "labels"; ranked: Ranked[] }
    | { type: "failed"; what: "load" | "texts"; message: string }
    | { type: "failed"; what: "read"; number: number; message: string };
