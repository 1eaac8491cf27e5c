/** The shape turning, and beside it the points that the encoder saw, both from the same side. */

import * as THREE from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import type { ShapeView, ViewPart, ViewTexture } from "./protocol";

const WRAPS: Record<string, THREE.Wrapping> = {
    repeat: THREE.RepeatWrapping,
    mirror: THREE.MirroredRepeatWrapping,
    clamp: THREE.ClampToEdgeWrapping,
};
const DISTANCE = 3.2;
const STEP = 0.15;
// Of a point, in three.js's measure: the fewer, the larger.
const [LEAST_SIZE, MOST_SIZE] = [0.03, 0.09];

export class View {
    private readonly renderer: THREE.WebGLRenderer;
    private readonly camera = new THREE.PerspectiveCamera(40, 1, 0.1, 20);
    private readonly controls: OrbitControls;
    private readonly shape = new THREE.Scene();
    private readonly points = new THREE.Scene();
    private hasShape = false;
    private turns: boolean;

    /** Raises an error where there is no WebGL. */
    constructor(private readonly canvas: HTMLCanvasElement) {
        this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
        this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
        this.renderer.autoClear = false;
        this.controls = new OrbitControls(this.camera, canvas);
        // They take every touch, and a phone's page could not be scrolled over the canvas.
        canvas.style.touchAction = "pan-y";
        this.controls.enablePan = false;
        this.controls.minDistance = 1.2;
        this.controls.maxDistance = 8;
        this.controls.autoRotateSpeed = 2;
        this.turns = this.controls.autoRotate = !matchMedia("(prefers-reduced-motion: reduce)").matches;
        this.controls.addEventListener("change", () => this.draw());
        this.shape.add(new THREE.HemisphereLight(0xffffff, 0x888888, 2.2));
        const sun = new THREE.DirectionalLight(0xffffff, 1.4);
        sun.position.set(2, 3, 4);
        this.shape.add(sun);
        canvas.addEventListener("keydown", (event) => this.onKey(event));
        new ResizeObserver(() => this.draw()).observe(canvas);
        const turn = () => {
            if (this.turns && !document.hidden) this.controls.update();
            requestAnimationFrame(turn);
        };
        turn();
    }

    get isTurning(): boolean {
        return this.turns;
    }

    set isTurning(turns: boolean) {
        this.turns = this.controls.autoRotate = turns;
    }

    show(view: ShapeView): void {
        for (const scene of [this.shape, this.points]) clear(scene);
        this.hasShape = view.parts.length > 0;
        const textures = new Textures(view.textures);
        for (const part of view.parts) this.shape.add(meshOf(part, textures));
        this.points.add(pointsOf(view.points));
        this.camera.position.set(0.45, 0.35, 0.82).normalize().multiplyScalar(DISTANCE);
        this.controls.target.set(0, 0, 0);
        this.controls.update();
        this.draw();
    }

    private draw(): void {
        const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
        if (!width || !height) return;
        const size = this.renderer.getSize(new THREE.Vector2());
        if (size.x !== width || size.y !== height) this.renderer.setSize(width, height, false);
        const sides = this.hasShape ? [this.shape, this.points] : [this.points];
        const each = width / sides.length;
        this.camera.aspect = each / height;
        this.camera.updateProjectionMatrix();
        this.renderer.setScissorTest(true);
        this.renderer.setScissor(0, 0, width, height);
        this.renderer.clear();
        sides.forEach((scene, i) => {
            this.renderer.setViewport(i * each, 0, each, height);
            this.renderer.setScissor(i * each, 0, each, height);
            this.renderer.render(scene, this.camera);
        });
    }

    private onKey(event: KeyboardEvent): void {
        if (isOfBrowser(event)) return;
        const place = new THREE.Spherical().setFromVector3(this.camera.position);
        const moves: Record<string, () => void> = {
            ArrowLeft: () => (place.theta -= STEP),
            ArrowRight: () => (place.theta += STEP),
            ArrowUp: () => (place.phi -= STEP),
            ArrowDown: () => (place.phi += STEP),
            "+": () => (place.radius /= 1.15),
            "-": () => (place.radius *= 1.15),
        };
        const move = moves[event.key];
        if (!move) return;
        event.preventDefault();
        move();
        place.radius = Math.min(Math.max(place.radius, this.controls.minDistance), this.controls.maxDistance);
        this.camera.position.setFromSpherical(place.makeSafe());
        this.controls.update();
        this.draw();
    }
}

/** Such as those of its zoom and its history. */
export function isOfBrowser({ ctrlKey, metaKey, altKey }: KeyboardEvent): boolean {
    return ctrlKey || metaKey || altKey;
}

function meshOf(part: ViewPart, textures: Textures): THREE.Mesh {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(part.positions, 3));
    geometry.computeVertexNormals();
    const material = new THREE.MeshLambertMaterial({ side: THREE.DoubleSide });
    if (part.texture !== null && part.uv) {
        geometry.setAttribute("uv", new THREE.BufferAttribute(part.uv, 2));
        material.map = textures.of(part.texture, part.wrap);
        material.alphaTest = 0.5;
    } else {
        geometry.setAttribute("color", new THREE.BufferAttribute(linear(part.colors), 3));
        material.vertexColors = true;
    }
    return new THREE.Mesh(geometry, material);
}

function pointsOf(values: Float32Array): THREE.Points {
    const geometry = new THREE.BufferGeometry();
    const size = Math.min(Math.max(3 / Math.sqrt(values.length / 6), LEAST_SIZE), MOST_SIZE);
    const rows = new THREE.InterleavedBuffer(values.slice(), 6);
    geometry.setAttribute("position", new THREE.InterleavedBufferAttribute(rows, 3, 0));
    const colors = Float32Array.from({ length: values.length / 2 }, (_, i) => values[6 * Math.floor(i / 3) + 3 + (i % 3)]);
    geometry.setAttribute("color", new THREE.BufferAttribute(linear(colors.map((value) => value * 255)), 3));
    return new THREE.Points(geometry, new THREE.PointsMaterial({ size, vertexColors: true }));
}

/** Of sRGB, 0..255, what three.js computes with. */
function linear(colors: ArrayLike<number>): Float32Array {
    const color = new THREE.Color();
    const found = new Float32Array(colors.length);
    for (let i = 0; i < colors.length; i += 3) {
        color.setRGB(colors[i] / 255, colors[i + 1] / 255, colors[i + 2] / 255, THREE.SRGBColorSpace).toArray(found, i);
    }
    return found;
}

/** One for each picture and way of repeating it, which parts share. */
class Textures {
    private readonly made = new Map<string, THREE.DataTexture>();

    constructor(private readonly pictures: ViewTexture[]) {
        pictures.forEach(turnOver);
    }

    of(number: number, wrap: [string, string]): THREE.DataTexture {
        const key = [number, ...wrap].join();
        const found = this.made.get(key) ?? textureOf(this.pictures[number], wrap);
        this.made.set(key, found);
        return found;
    }
}

function textureOf({ width, height, data }: ViewTexture, wrap: [string, string]): THREE.DataTexture {
    const texture = new THREE.DataTexture(data, width, height);
    texture.colorSpace = THREE.SRGBColorSpace;
    texture.magFilter = THREE.LinearFilter;
    texture.minFilter = THREE.LinearMipmapLinearFilter;
    texture.generateMipmaps = true;
    [texture.wrapS, texture.wrapT] = [WRAPS[wrap[0]], WRAPS[wrap[1]]];
    texture.needsUpdate = true;
    return texture;
}

/** In its place: the lowest row first, as textures are placed. */
function turnOver({ width, height, data }: ViewTexture): void {
    for (let row = 0; row < height >> 1; row++) {
        const [top, low] = [4 * width * row, 4 * width * (height - 1 - row)];
        const kept = data.slice(top, top + 4 * width);
        data.copyWithin(top, low, low + 4 * width);
        data.set(kept, low);
    }
}

function clear(scene: THREE.Scene): void {
    const textures = new Set<THREE.Texture>();
    for (const child of [...scene.children]) {
        if (!(child instanceof THREE.Mesh || child instanceof THREE.Points)) continue;
        scene.remove(child);
        child.geometry.dispose();
        const material = child.material as THREE.MeshLambertMaterial;
        if (material.map) textures.add(material.map);
        material.dispose();
    }
    for (const texture of textures) texture.dispose();
}
