/** The worker that reads and embeds: watched, and started again where it stops or says nothing any more. */

import type { FromWorker, ToWorker, WidgetSettings } from "./protocol";

/** A shape that takes longer is given up, and the worker with it. */
export const TIME_LIMIT = 90_000;
/** A worker that says nothing for so long while it loads is started again, without threads or the graphics card. */
export const LOAD_LIMIT = 30_000;
// Of workers that stop before they are ready; another one would most likely stop too.
const MOST_STOPS = 2;
const STOPPED = "The computation stopped, perhaps for want of memory.";

/** What the page does of it. */
export interface Listener {
    /** A worker begins to load, and what the one before it knew is gone. */
    onStart(): void;
    /** A shape was given to the worker. */
    onRead(): void;
    /** What the worker says; of shapes, only of the last one that was given. */
    onMessage(message: FromWorker): void;
    /** A shape, or a worker with what it was asked, was given up. */
    onProblem(text: string, isOfShape: boolean): void;
}

interface Given {
    number: number;
    name: string;
    files: Map<string, File>;
    /** Whether a worker has answered it that is not there any more. */
    isAgain: boolean;
}

/** That is not answered yet: a shape, or null for one about texts. */
type Question = Given | null;

export class Computing {
    private worker: Worker | null = null;
    private settings: WidgetSettings | null = null;
    private base = "";
    private isReady = false;
    /** After one that stopped or said nothing: with one thread less memory is asked for, and graphics cards may hang. */
    private isCareful = false;
    /** Whether the worker has read the shape, and embeds it. */
    private isEmbedding = false;
    private stops = 0;
    /** Why nothing can be computed on this page any more. */
    private failure = "";
    private loadTimer = 0;
    private readTimer = 0;
    private number = 0;
    /** The last shape, but while the worker is at it: the next worker gets it, so that other labels have a shape. */
    private given: Given | null = null;
    /** The worker answers one after the other. */
    private questions: Question[] = [];

    constructor(private readonly listener: Listener) {}

    start(settings: WidgetSettings, base: string): void {
        [this.settings, this.base] = [settings, base];
        this.restart();
    }

    /** For good: each shape that is given afterwards is answered by the reason. */
    fail(reason: string): void {
        this.failure = reason;
        this.dismiss();
        this.listener.onMessage({ type: "failed", what: "load", message: reason });
    }

    /** Read and embed a shape, as soon as there is a worker; answers about those before it are not passed on any more. */
    read(name: string, files: Map<string, File>): void {
        if (this.failure) return this.fail(this.failure);
        this.given = { number: ++this.number, name, files, isAgain: false };
        if (this.isReady) this.send(this.given);
    }

    /** Ask about texts. */
    ask(message: ToWorker): void {
        if (!this.worker) return;
        this.questions.push(null);
        this.worker.postMessage(message);
    }

    private send(given: Given): void {
        const { number, files } = given;
        this.worker!.postMessage({ type: "read", number, files } satisfies ToWorker);
        this.listener.onRead();
        this.questions.push(given);
        if (this.questions.length === 1) this.watchReading();
    }

    private dismiss(): void {
        this.worker?.terminate();
        this.worker = null;
        [this.isReady, this.isEmbedding] = [false, false];
        this.questions = [];
        clearTimeout(this.loadTimer);
        clearTimeout(this.readTimer);
    }

    private restart(): void {
        this.dismiss();
        this.listener.onStart();
        const worker = new Worker("worker.js", { type: "module" });
        this.worker = worker;
        worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
            if (worker === this.worker) this.hear(data);
        };
        worker.onerror = (event) => {
            event.preventDefault();
            if (worker === this.worker) this.onStop();
        };
        const { settings, base, isCareful } = this;
        worker.postMessage({ type: "load", settings: settings!, base, isCareful } satisfies ToWorker);
        this.watchLoading();
    }

    private onStop(): void {
        if (this.isReady) {
            // It may stop while nothing is asked, too.
            const isOfShape = Boolean(this.questions[0]);
            const text = isOfShape ? `${STOPPED} Try a smaller file.` : STOPPED;
            if (!this.isOfBefore(this.questions[0])) this.listener.onProblem(text, isOfShape);
        } else if (++this.stops >= MOST_STOPS) {
            return this.fail("the computation stops while it loads. Reload the page, or try another browser");
        } else {
            this.isCareful = true;
        }
        this.restart();
    }

    private hear(message: FromWorker): void {
        if (message.type === "failed" && message.what === "load") return this.fail(message.message);
        if (message.type === "ready") [this.isReady, this.stops] = [true, 0];
        this.watchLoading();
        if (["result", "failed", "textSize", "labels"].includes(message.type)) this.settle(message.type, this.questions.shift());
        this.isEmbedding = message.type === "shape" || (this.isEmbedding && message.type === "progress");
        // A download within the reading of a shape counts as a sign of life.
        if (message.type !== "shape") this.watchReading();
        if (!("number" in message && message.number !== this.number)) this.listener.onMessage(message);
        if (message.type === "ready" && this.given) this.send(this.given);
    }

    /** A shape that was answered is kept for the next worker, once: it may be what stops them. */
    private settle(type: FromWorker["type"], question: Question | undefined): void {
        if (type !== "result" || !question || question.isAgain || this.isOfBefore(question)) return;
        this.given = { ...question, isAgain: true };
    }

    private watchLoading(): void {
        clearTimeout(this.loadTimer);
        if (this.isReady || this.isCareful) return;
        this.loadTimer = setTimeout(() => {
            this.isCareful = true;
            this.restart();
        }, LOAD_LIMIT);
    }

    /** The limit of a shape runs once all that was asked before it is answered, such as a download of a text model. */
    private watchReading(): void {
        clearTimeout(this.readTimer);
        const question = this.questions[0];
        if (!question) return;
        if (question.number === this.given?.number) this.given = null;
        this.readTimer = setTimeout(() => {
            if (!this.isOfBefore(question)) this.listener.onProblem(`${question.name} took too long. Try a smaller file.`, true);
            this.isCareful ||= this.isEmbedding;
            this.restart();
        }, TIME_LIMIT);
    }

    /** Whether a question is about a shape in whose place another one was given. */
    private isOfBefore(question: Question | undefined): boolean {
        return Boolean(question && question.number !== this.number);
    }
}
