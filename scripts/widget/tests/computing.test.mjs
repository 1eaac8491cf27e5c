// The worker as the page keeps it: another stands in for it here, which says what a test lets it say.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { bundled } from "./bundled.mjs";

const { Computing, LOAD_LIMIT, TIME_LIMIT } = await bundled("computing");
const FILES = new Map([["a.glb", new File([], "a.glb")]]);

let workers, page, computing;

class StubWorker {
    asked = [];
    isAlive = true;
    constructor() {
        workers.push(this);
    }
    postMessage(message) {
        this.asked.push(message);
    }
    terminate() {
        this.isAlive = false;
    }
    say(message) {
        this.onmessage({ data: message });
    }
    stop() {
        this.onerror({ preventDefault() {} });
    }
    reads() {
        return this.asked.filter(({ type }) => type === "read").map(({ number }) => number);
    }
}

beforeEach(() => {
    mock.timers.enable({ apis: ["setTimeout"] });
    [workers, page] = [[], { starts: 0, reads: 0, said: [], problems: [], areOfShapes: [] }];
    globalThis.Worker = StubWorker;
    computing = new Computing({
        onStart: () => page.starts++,
        onRead: () => page.reads++,
        onMessage: ({ type, what, number }) => page.said.push([type, what, number].filter((part) => part !== undefined).join(" ")),
        onProblem: (text, isOfShape) => {
            page.problems.push(text);
            page.areOfShapes.push(isOfShape);
        },
    });
    computing.start({ title: "", encoder: "encoder/", collection: null }, "http://localhost/");
});

afterEach(() => mock.timers.reset());

const newest = () => workers[workers.length - 1];
const result = (number) => ({ type: "result", number });
const failed = (number) => ({ type: "failed", what: "read", number, message: "it is empty" });

test("a worker that stops as it loads is tried once more, with less, and then no more", () => {
    newest().stop();
    assert.deepEqual(workers.map((worker) => worker.asked[0].isCareful), [false, true]);
    assert.deepEqual(page.said, []);
    newest().stop();
    assert.deepEqual([workers.length, page.said, newest().isAlive], [2, ["failed load"], false]);
    computing.read("a.glb", FILES);
    assert.deepEqual([workers.length, page.said, page.reads], [2, ["failed load", "failed load"], 0]);
});

test("stops are counted from the last worker that was ready", () => {
    for (let round = 0; round < 3; round++) {
        newest().stop();
        newest().say({ type: "ready" });
        newest().stop();
    }
    assert.deepEqual([workers.length, page.problems.length, newest().isAlive], [7, 3, true]);
});

test("an encoder that cannot be loaded is told again of each shape", () => {
    computing.read("a.glb", FILES);
    newest().say({ type: "failed", what: "load", message: "no encoder" });
    computing.read("b.glb", FILES);
    assert.deepEqual(page.said, ["failed load", "failed load"]);
    assert.deepEqual([workers.length, page.reads, newest().isAlive], [1, 0, false]);
});

test("a shape that is given early waits, and the last one counts", () => {
    computing.read("a.glb", FILES);
    computing.read("b.glb", FILES);
    assert.deepEqual(newest().reads(), []);
    newest().say({ type: "ready" });
    assert.deepEqual([newest().reads(), page.reads], [[2], 1]);
});

test("of two shapes in a row, what is said of the first is not passed on", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    computing.read("b.glb", FILES);
    newest().say({ type: "shape", number: 1 });
    newest().say(failed(1));
    newest().say({ type: "shape", number: 2 });
    newest().say(result(2));
    assert.deepEqual(page.said, ["ready", "shape 2", "result 2"]);
});

test("a worker that never answers a shape is given up", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    mock.timers.tick(TIME_LIMIT - 1);
    assert.deepEqual(page.problems, []);
    mock.timers.tick(1);
    assert.deepEqual(page.problems, ["a.glb took too long. Try a smaller file."]);
    newest().say({ type: "ready" });
    assert.deepEqual([workers.length, newest().reads()], [2, []]);
});

test("the second of two shapes has a limit of its own", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    computing.read("b.glb", FILES);
    mock.timers.tick(TIME_LIMIT - 1);
    newest().say(failed(1));
    mock.timers.tick(TIME_LIMIT - 1);
    assert.deepEqual([page.problems, workers.length], [[], 1]);
    mock.timers.tick(1);
    assert.deepEqual([page.problems, workers.length], [["b.glb took too long. Try a smaller file."], 2]);
});

test("where the first of two shapes takes too long, the next worker gets the second", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    computing.read("b.glb", FILES);
    mock.timers.tick(TIME_LIMIT);
    newest().say({ type: "ready" });
    assert.deepEqual([page.problems, workers.length, newest().reads()], [[], 2, [2]]);
});

test("a limit ends with the answer", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    newest().say(result(1));
    mock.timers.tick(10 * TIME_LIMIT);
    assert.deepEqual([page.problems, workers.length], [[], 1]);
});

test("a download of a text model may take longer than a shape that waits for it", () => {
    newest().say({ type: "ready" });
    computing.ask({ type: "texts", labels: ["a chair"] });
    computing.read("a.glb", FILES);
    for (let part = 0; part < 4; part++) {
        mock.timers.tick(TIME_LIMIT - 1);
        newest().say({ type: "progress" });
    }
    newest().say({ type: "labels" });
    mock.timers.tick(TIME_LIMIT - 1);
    assert.deepEqual([page.problems, workers.length], [[], 1]);
    mock.timers.tick(1);
    assert.deepEqual([page.problems.length, workers.length], [1, 2]);
});

test("a download within the reading of a shape is a sign of life", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    mock.timers.tick(TIME_LIMIT - 1);
    newest().say({ type: "progress" });
    mock.timers.tick(TIME_LIMIT - 1);
    assert.deepEqual(page.problems, []);
});

test("a worker that says nothing as it loads is started again without threads, once", () => {
    mock.timers.tick(LOAD_LIMIT - 1);
    newest().say({ type: "progress" });
    mock.timers.tick(LOAD_LIMIT - 1);
    assert.equal(workers.length, 1);
    mock.timers.tick(1);
    mock.timers.tick(10 * LOAD_LIMIT);
    assert.deepEqual(workers.map((worker) => worker.asked[0].isCareful), [false, true]);
});

test("a worker that stops over a shape does not get it again, one that waited is kept", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    newest().stop();
    newest().say({ type: "ready" });
    assert.deepEqual([newest().reads(), page.problems.length], [[], 1]);
    assert.match(page.problems[0], /Try a smaller file/);
    computing.ask({ type: "texts", labels: ["a chair"] });
    computing.read("b.glb", FILES);
    newest().stop();
    newest().say({ type: "ready" });
    assert.deepEqual([newest().reads(), page.problems.length, page.starts], [[2], 2, 3]);
    assert.doesNotMatch(page.problems[1], /file/);
});

test("a worker that stops while nothing is asked takes no result away, and the next one gets its shape", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    newest().say(result(1));
    newest().stop();
    assert.deepEqual(page.areOfShapes, [false]);
    assert.doesNotMatch(page.problems[0], /smaller file/);
    newest().say({ type: "ready" });
    assert.deepEqual([newest().reads(), newest().asked.at(-1).files], [[1], FILES]);
    computing.read("b.glb", FILES);
    newest().say(result(1));
    newest().stop();
    assert.deepEqual(page.areOfShapes, [false, true]);
});

test("a shape that two workers have answered and not outlived is not given to a third", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    for (let round = 0; round < 2; round++) {
        newest().say(result(1));
        newest().stop();
        newest().say({ type: "ready" });
    }
    assert.deepEqual(workers.map((worker) => worker.reads()), [[1], [1], []]);
});

test("a shape that could not be read is not given to the next worker", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    newest().say(failed(1));
    newest().stop();
    newest().say({ type: "ready" });
    assert.deepEqual(newest().reads(), []);
});

test("of two shapes in a row the first is not given to the next worker", () => {
    newest().say({ type: "ready" });
    computing.read("a.glb", FILES);
    computing.read("b.glb", FILES);
    newest().say(result(1));
    newest().say(failed(2));
    newest().stop();
    newest().say({ type: "ready" });
    assert.deepEqual(newest().reads(), []);
});

test("what a worker says that was given up is not heard", () => {
    newest().stop();
    workers[0].say({ type: "ready" });
    workers[0].stop();
    assert.deepEqual([workers.length, page.said], [2, []]);
});

test("a shape that hangs as it is embedded is a reason to do without the graphics card, one that hangs as it is read is none", () => {
    for (const [number, isRead] of [[1, false], [2, true]]) {
        newest().say({ type: "ready" });
        computing.read("a.glb", FILES);
        if (isRead) newest().say({ type: "shape", number });
        mock.timers.tick(TIME_LIMIT);
    }
    assert.deepEqual(workers.map((worker) => worker.asked[0].isCareful), [false, false, true]);
});
