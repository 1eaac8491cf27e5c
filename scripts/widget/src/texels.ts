/**
 * A picture's texels whose colours stay where the opacity is 0, by WebGL: a canvas in two dimensions multiplies them by the
 * opacity, and gives black there.
 */

const VERTICES = `#version 300 es
void main() {
    gl_Position = vec4(vec2[3](vec2(-1, -1), vec2(3, -1), vec2(-1, 3))[gl_VertexID], 0, 1);
}`;
const FRAGMENTS = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform vec2 size;
out vec4 texel;
void main() {
    texel = texture(picture, gl_FragCoord.xy / size);
}`;

interface Gl {
    gl: WebGL2RenderingContext;
    size: WebGLUniformLocation | null;
}

// Browsers allow few of them at a time, so one is kept; undefined before it was tried.
let kept: Gl | null | undefined;

/**
 * RGBA of a picture that was decoded with `premultiplyAlpha: "none"`, top row first, in a size that is not larger than its
 * own. Null where there is no WebGL, or the picture is too large for it.
 */
export function texelsOf(picture: ImageBitmap, width: number, height: number): Uint8Array | null {
    if (!kept || kept.gl.isContextLost()) kept = prepared();
    if (!kept) return null;
    const { gl, size } = kept;
    if (Math.max(picture.width, picture.height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
    const isSame = width === picture.width && height === picture.height;
    const source = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, source);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    if (!isSame) gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, isSame ? gl.NEAREST : gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, isSame ? gl.NEAREST : gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    const target = gl.createRenderbuffer();
    gl.bindRenderbuffer(gl.RENDERBUFFER, target);
    gl.renderbufferStorage(gl.RENDERBUFFER, gl.RGBA8, width, height);
    const frame = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.RENDERBUFFER, target);
    gl.viewport(0, 0, width, height);
    gl.uniform2f(size, width, height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    const data = new Uint8Array(4 * width * height);
    // The first row that was given is the first row that is read: neither is turned over.
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
    gl.deleteFramebuffer(frame);
    gl.deleteRenderbuffer(target);
    gl.deleteTexture(source);
    return gl.getError() === gl.NO_ERROR && !gl.isContextLost() ? data : null;
}

function prepared(): Gl | null {
    const gl = new OffscreenCanvas(1, 1).getContext("webgl2", { antialias: false, depth: false });
    if (!gl) return null;
    const program = gl.createProgram();
    for (const [kind, text] of [
        [gl.VERTEX_SHADER, VERTICES],
        [gl.FRAGMENT_SHADER, FRAGMENTS],
    ] as const) {
        const shader = gl.createShader(kind)!;
        gl.shaderSource(shader, text);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
    gl.disable(gl.DITHER);
    gl.useProgram(program);
    return { gl, size: gl.getUniformLocation(program, "size") };
}
