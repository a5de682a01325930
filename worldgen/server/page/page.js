"use strict";
// Everything that is shown of a client's words goes in as text, never as HTML.
const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const chosen = { generate: null, judge: null };  // {file} or {id, name}
const running = { generate: null, judge: null };
let about = { limits: { upload: 2e8 } };

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

async function ask(path, options) {
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error("The server does not answer. Is it still running?"); }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error || `The server answered ${answer.status}.`);
  return body;
}

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function submit(document_) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": newKey() };
  return ask("/api/jobs", { method: "POST", headers, body: JSON.stringify(document_) });
}

async function uploaded(kind) {
  const one = chosen[kind];
  if (!one) throw new Error(kind === "judge" ? "Choose a video first." : "Choose a picture or a video first, or a simulated scene.");
  if (one.id) return one.id;
  if (one.file.size > about.limits.upload) throw new Error(`${one.file.name} has ${(one.file.size / 1e6).toFixed(0)} MB; at most ${about.limits.upload / 1e6} are taken.`);
  const headers = { "Content-Type": "application/octet-stream" };
  const kept = await ask(`/api/uploads?name=${encodeURIComponent(one.file.name)}`, { method: "POST", headers, body: one.file });
  one.id = kept.id;
  return kept.id;
}

function say(kind, text, wrong) {
  $(`${kind}-result`).replaceChildren(make("p", { className: wrong ? "wrong" : "soft", textContent: text }));
}

// Follows a job until it is over; calls back at each change.
function follow(job, changed) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`/api/jobs/${job.id}/events`);
    let lost = 0;
    source.addEventListener("job", (event) => {
      lost = 0;
      const now = JSON.parse(event.data);
      changed(now);
      if (now.ended !== null) { source.close(); resolve(now); }
    });
    source.onerror = () => {
      lost += 1;
      if (lost > 5) { source.close(); reject(new Error("The server does not answer. Is it still running?")); }
    };
  });
}

// Plays frames that lie side by side in one picture.
function playStrip(canvas, address, count) {
  const picture = new Image();
  picture.onload = () => {
    const side = picture.height;
    canvas.width = canvas.height = side;
    clearInterval(canvas.timer);
    let frame = 0;
    const draw = () => {
      if (!canvas.isConnected) return clearInterval(canvas.timer);
      canvas.getContext("2d").drawImage(picture, frame * side, 0, side, side, 0, 0, side, side);
      frame = (frame + 1) % count;
    };
    draw();
    if (!still.matches) canvas.timer = setInterval(draw, 40);
  };
  picture.src = address;
}

function showRunning(kind) {
  const text = make("p", { className: "soft" });
  const bar = make("progress", {});
  const canvas = make("canvas", { hidden: true, title: "the clip while it is sampled" });
  $(`${kind}-result`).replaceChildren(text, bar, make("figure", {}, canvas));
  let shown = 0;
  return (job) => {
    text.textContent = job.state === "waiting" ? `Waiting; place ${job.ahead} in the queue.` : job.steps ? `Step ${job.step} of ${job.steps}` : "Running; the model is loaded first.";
    if (job.steps) { bar.max = job.steps; bar.value = job.step; }
    if (job.previews > shown) {
      shown = job.previews;
      canvas.hidden = false;
      playStrip(canvas, `/api/jobs/${job.id}/files/preview.png?${shown}`, job.ask.frames);
    }
  };
}

async function run(kind, document_, show) {
  const cancel = $(`${kind}-cancel`);
  const form = $(`${kind}-form`);
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  try {
    say(kind, "Uploading");
    const asked = await document_();
    const job = await submit(asked);
    running[kind] = job.id;
    cancel.hidden = false;
    const over = await follow(job, showRunning(kind));
    if (over.state === "done") show(over);
    else say(kind, over.state === "canceled" ? "Canceled." : over.error, over.state !== "canceled");
  } catch (error) {
    say(kind, error.message, true);
  } finally {
    running[kind] = null;
    cancel.hidden = true;
    button.disabled = false;
  }
}

function player(job, name, caption) {
  const video = make("video", { src: `/api/jobs/${job.id}/files/${name}`, controls: true, loop: true, muted: true, autoplay: !still.matches, playsInline: true });
  return make("figure", {}, video, make("figcaption", { textContent: caption }));
}

function download(job, name, text) {
  return make("a", { href: `/api/jobs/${job.id}/files/${name}`, download: name, textContent: text });
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { textContent: text, scope: "col" })));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function checks(result) {
  const rows = result.checks.map((check) => {
    const name = make("th", { scope: "row", textContent: check.name.replaceAll("_", " ") });
    if (check.value === null) return make("tr", {}, name, make("td", { colSpan: 3, className: "soft", textContent: `does not apply: ${check.note}` }));
    const limit = `${check.passes === "below" ? "at most" : "at least"} ${Number(check.limit.toPrecision(4))}`;
    const score = make("td", { className: check.score < 0.5 ? "number low" : "number", textContent: check.score.toFixed(2) + (check.score < 0.5 ? " fails" : "") });
    return make("tr", {}, name, make("td", { className: "number", textContent: `${Number(check.value.toPrecision(4))} ${check.unit}` }), make("td", { textContent: limit }), score);
  });
  return make("div", { className: "scroll" }, table(["check", "value", "limit", "score"], rows));
}

function showGenerated(job) {
  const parts = [];
  if (job.result.verdict) parts.push(make("p", { className: "said", textContent: job.result.verdict }));
  if (job.result.refused) parts.push(make("p", { className: "soft", textContent: `Not judged: ${job.result.refused}` }));
  const prompt = job.ask.prompt;
  const stage = make("div", { className: "stage" }, player(job, "clip.mp4", prompt ? `seed ${job.ask.seed}, with the words` : `seed ${job.ask.seed}`));
  if (job.files.includes("without_prompt.mp4")) stage.append(player(job, "without_prompt.mp4", `seed ${job.ask.seed}, without the words`));
  parts.push(stage);
  const links = make("p", { className: "downloads" }, download(job, "clip.mp4", "mp4"), download(job, "job.json", "json"));
  if (job.files.includes("report.json")) links.append(download(job, "report.json", "report"));
  parts.push(links, make("p", { className: "soft", textContent: `${job.result.frames} frames in ${job.result.seconds.toFixed(1)} s. The same from a shell, in the folder of the file:` }), make("pre", { tabIndex: 0, textContent: job.command }));
  if (job.result.checks) parts.push(checks(job.result));
  $("generate-result").replaceChildren(...parts);
}

function showJudged(job) {
  $("judge-result").replaceChildren(
    make("p", { className: "said", textContent: job.result.verdict }), checks(job.result),
    make("p", { className: "downloads" }, download(job, "report.json", "json")),
    make("p", { className: "soft", textContent: "A low score means that a law was broken or that tracking failed: look at the video before you believe it." }));
}

function choose(kind, one) {
  chosen[kind] = one;
  $(`${kind}-chosen`).textContent = one ? one.name || one.file.name : "";
}

for (const kind of ["generate", "judge"]) {
  const drop = $(`${kind}-drop`);
  $(`${kind}-file`).addEventListener("change", (event) => { if (event.target.files[0]) choose(kind, { file: event.target.files[0] }); });
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) choose(kind, { file: event.dataTransfer.files[0] });
  });
  $(`${kind}-cancel`).addEventListener("click", () => {
    if (running[kind]) ask(`/api/jobs/${running[kind]}/cancel`, { method: "POST" }).catch((error) => say(kind, error.message, true));
  });
}

$("generate-form").addEventListener("submit", (event) => {
  event.preventDefault();
  run("generate", async () => ({
    kind: "generate", run: $("run").value, upload: await uploaded("generate"), prompt: $("prompt").value.trim(),
    seed: Number($("seed").value), frames: Number($("frames").value), context_frames: Number($("context").value),
    without_prompt: $("without").checked, judge: $("judged").checked,
  }), showGenerated);
});
$("judge-form").addEventListener("submit", (event) => {
  event.preventDefault();
  run("judge", async () => ({ kind: "evaluate", upload: await uploaded("judge") }), showJudged);
});
$("scene").addEventListener("click", () => {
  run("generate", async () => ({ kind: "simulate", family: $("family").value, seed: Number($("seed").value) }), async (job) => {
    const file = await (await fetch(`/api/jobs/${job.id}/files/clip.mp4`)).blob();
    choose("generate", { file: new File([file], `${job.ask.family}-${job.ask.seed}.mp4`) });
    $("prompt").value = job.result.prompt;
    $("generate-result").replaceChildren(make("div", { className: "stage" }, player(job, "clip.mp4", "the simulated scene; its first frames are continued")));
  });
});

const tabs = [...document.querySelectorAll("[role=tab]")];
function open_(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
  if (tab.id === "tab-runs") showRuns();
}
tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => open_(tab));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = tabs[(to + tabs.length) % tabs.length];
    next.focus();
    open_(next);
  });
});

async function showRuns() {
  try {
    const [{ runs }, { jobs }] = await Promise.all([ask("/api/runs"), ask("/api/jobs")]);
    $("run-table").replaceChildren(table(["run", "state", "step", "measures"], runs.map((row) => {
      const measures = Object.entries(row.measures || {}).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`).join(", ");
      return make("tr", {}, make("th", { scope: "row", textContent: row.name }), make("td", { textContent: row.problem ? `${row.state}: ${row.problem}` : row.state }), make("td", { textContent: row.step ?? "" }), make("td", { textContent: measures || "none" }));
    })));
    $("job-table").replaceChildren(jobs.length ? table(["when", "what", "state", "", ""], jobs.map((job) => {
      const links = make("td", {}, ...job.files.map((name) => make("span", {}, download(job, name, name), " ")));
      const what = `${job.ask.kind} ${job.ask.prompt ?? job.ask.family ?? ""}`;
      const told = job.error || job.result.verdict || (job.state === "running" && job.steps ? `step ${job.step} of ${job.steps}` : "");
      return make("tr", {}, make("td", { textContent: new Date(job.created * 1000).toLocaleString() }), make("td", { textContent: what }), make("td", { className: job.state === "failed" ? "low" : "", textContent: job.state }), make("td", { textContent: told }), links);
    })) : make("p", { className: "soft", textContent: "None yet." }));
  } catch (error) {
    $("run-table").replaceChildren(make("p", { className: "wrong", textContent: error.message }));
  }
}

async function begin() {
  try {
    about = await ask("/api/about");
    $("run").replaceChildren(...about.runs.map((name) => make("option", { textContent: name })));
    $("server").hidden = true;
    if (about.families.length) $("family").replaceChildren(...about.families.map((name) => make("option", { textContent: name })));
    if (!about.ready) setTimeout(begin, 1000);  // families come with the worker
  } catch (error) {
    $("server").hidden = false;
    $("server").textContent = error.message;
    setTimeout(begin, 3000);
  }
}
const wanted = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
if (wanted) open_(wanted);
begin();
