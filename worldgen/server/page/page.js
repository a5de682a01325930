import { cell, checks, command, curves, download, downloads, fileOf, head, make, player, playStrip, readTracks, round, shots, soft, table } from "/page/draw.js";

const $ = (id) => document.getElementById(id);
const chosen = { generate: null, second: null, judge: null };  // {file} or {file, id}
const running = { generate: null, judge: null };
let about = { limits: { upload: 2e8 }, runs: [] };
let rows = [];  // of runs

// Each mode: its name, what its files are for (fields of the API), and what is asked for them.
const MODES = [
  ["Continue a picture or video", { upload: "Drop a picture or a video here, or choose one. The clip begins with it." }],
  ["Extend a video", { after: "Drop the video to go on from. The result has it in front." }],
  ["Lead up to a video", { before: "Drop the video to lead up to. The result has it behind." }],
  ["In between two pictures", { upload: "Drop the picture or video that the clip begins with.", last_frames: "Drop the one that it ends with." }],
  ["Join two videos", { after: "Drop the first video.", before: "Drop the second one. What lies between is made." }],
  ["Edit a video", { edit: "Drop the video that is made anew.", keep: "A picture of its size, if a part is to stay: what is white in it stays." }],
  ["Loop", { upload: "Drop a picture or a video. The clip begins with it, and its end meets it again." }],
  ["A story", { upload: "Drop a picture or a video here, or choose one. The first shot begins with it." }],
  ["Words alone", {}],
];
const [EDIT, LOOP, STORY] = [5, 6, 7];
const WORDS = ["What happens", "a red ball drops onto the floor and bounces"];
const SHOTS = ["Shots, one on each line; a line may begin with its length", "a red ball drops\n0.6 s: it bounces"];

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

async function uploaded(kind, missing) {
  const one = chosen[kind];
  if (!one) throw new Error(missing);
  if (one.id) return one.id;
  if (one.file.size > about.limits.upload) throw new Error(`${one.file.name} has ${(one.file.size / 1e6).toFixed(0)} MB; at most ${about.limits.upload / 1e6} are taken.`);
  const headers = { "Content-Type": "application/octet-stream" };
  const kept = await ask(`/api/uploads?name=${encodeURIComponent(one.file.name)}`, { method: "POST", headers, body: one.file });
  one.id = kept.id;
  return kept.id;
}

function say(place, text, wrong) {
  place.replaceChildren(make("p", { className: wrong ? "wrong" : "soft", textContent: text }));
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

function showRunning(place) {
  const text = make("p", { className: "soft" });
  const bar = make("progress", {});
  const canvas = make("canvas", { hidden: true, title: "the clip while it is sampled" });
  place.replaceChildren(text, bar, make("figure", {}, canvas));
  let shown = 0;
  return (job) => {
    const steps = job.steps ? `Step ${job.step} of ${job.steps}` : job.step ? `${job.step} frames looked at` : "Running; what it needs is loaded first.";
    text.textContent = job.state === "waiting" ? `Waiting; place ${job.ahead} in the queue.` : steps;
    if (job.steps) { bar.max = job.steps; bar.value = job.step; }
    if (job.previews > shown) {
      shown = job.previews;
      canvas.hidden = false;
      playStrip(canvas, `${fileOf(job, "preview.png")}?${shown}`, job.preview_frames);
    }
  };
}

async function run(kind, document_, show, place = $(`${kind}-result`)) {
  const cancel = $(`${kind}-cancel`);
  const button = $(`${kind}-form`).querySelector("[type=submit]");
  button.disabled = true;
  try {
    say(place, "Uploading");
    const job = await submit(await document_());
    running[kind] = job.id;
    cancel.hidden = false;
    const over = await follow(job, showRunning(place));
    if (over.state === "done") await show(over);
    else say(place, over.state === "canceled" ? "Canceled." : over.error, over.state !== "canceled");
  } catch (error) {
    say(place, error.message, true);
  } finally {
    running[kind] = null;
    cancel.hidden = true;
    button.disabled = false;
  }
}

const tracksOf = async (job) => (job.files.includes("tracks.json") ? readTracks(await ask(fileOf(job, "tracks.json"))) : null);
const NAMES = { text: "the words", video: "the video encoder", multimodal: "the multimodal encoder" };

function captionOf(job) {
  const without = job.ask.without.map((slot) => NAMES[slot]).join(" and ");
  return `seed ${job.ask.seed}${without ? `, without ${without}` : job.ask.prompt || job.ask.story ? ", with the words" : ""}`;
}

async function showGenerated(job) {
  const stage = make("div", { className: "stage" });
  const tracks = await tracksOf(job);
  const plots = tracks && tracks.objects.length ? curves(tracks) : null;
  stage.append(player(fileOf(job, "clip.mp4"), captionOf(job), tracks, (frame) => plots && plots.at(frame), job.files.includes("clip.wav")));
  const { result } = job;
  $("generate-result").replaceChildren(...[
    result.verdict ? make("p", { className: "said", textContent: result.verdict }) : null,
    result.refused ? soft(`Not judged: ${result.refused}`) : null,
    stage, result.shots ? shots(result.shots, stage) : null, flips(job, stage), plots && plots.element, downloads(job),
    soft(`${result.frames} frames in ${result.seconds.toFixed(1)} s. The same from a shell, in the folder of the files:`), command(job.command),
    ...result.notes.map(soft), result.checks ? checks(result) : null,
  ].filter((part) => part));
}

// The same seed with a condition left out, by one click, beside the clip.
function flips(job, stage) {
  const slots = job.result.slots.filter((slot) => !job.ask.without.includes(slot) && (slot !== "text" || job.ask.prompt || job.ask.story));
  if (!slots.length) return null;
  const buttons = slots.map((slot) => {
    const button = make("button", { type: "button", className: "plain", textContent: `without ${NAMES[slot]}` });
    button.dataset.without = slot;
    button.addEventListener("click", async () => {
      button.disabled = true;
      const place = make("div", { className: "beside" });
      stage.append(place);
      const one = async () => ({ ...job.ask, without: [...job.ask.without, slot] });
      await run("generate", one, async (other) => {
        const verdict = other.result.verdict ? soft(other.result.verdict) : null;
        const rest = make("details", {}, make("summary", { textContent: "its command and files" }), command(other.command), downloads(other));
        place.replaceChildren(player(fileOf(other, "clip.mp4"), captionOf(other), await tracksOf(other)), ...[verdict, rest].filter((part) => part));
        const films = [...stage.querySelectorAll("video")];
        films.forEach((film) => { film.currentTime = 0; });
      }, place);
      button.disabled = false;
    });
    return button;
  });
  return make("p", { className: "flips" }, make("span", { className: "soft", textContent: "The same seed" }), ...buttons);
}

async function showJudged(job) {
  const tracks = await tracksOf(job);
  const plots = tracks && tracks.objects.length ? curves(tracks) : null;
  const film = player(URL.createObjectURL(chosen.judge.file), "what was tracked is drawn on it", tracks, (frame) => plots && plots.at(frame));
  $("judge-result").replaceChildren(...[
    make("p", { className: "said", textContent: job.result.verdict }), make("div", { className: "stage" }, film), plots && plots.element,
    checks(job.result), downloads(job), soft("A low score means that a law was broken or that tracking failed: look at the video before you believe it."),
  ].filter((part) => part));
}

function choose(kind, file) {
  chosen[kind] = file ? { file } : null;
  $(`${kind}-chosen`).textContent = file ? file.name : "";
}

for (const kind of ["generate", "second", "judge"]) {
  const drop = $(`${kind}-drop`);
  $(`${kind}-file`).addEventListener("change", (event) => { if (event.target.files[0]) choose(kind, event.target.files[0]); });
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) choose(kind, event.dataTransfer.files[0]);
  });
}
for (const kind of ["generate", "judge"]) {
  $(`${kind}-cancel`).addEventListener("click", () => {
    if (running[kind]) ask(`/api/jobs/${running[kind]}/cancel`, { method: "POST" }).catch((error) => say($(`${kind}-result`), error.message, true));
  });
}

function showMode() {
  const texts = Object.values(MODES[$("mode").value][1]);
  [["generate", 0], ["second", 1]].forEach(([kind, place]) => {
    $(`${kind}-drop`).hidden = !texts[place];
    $(`${kind}-what`).textContent = texts[place] ?? "";
  });
  $("scenes").hidden = !texts.length;
  const mode = Number($("mode").value);
  $("strength-label").hidden = mode !== EDIT;
  $("draws-label").hidden = $("keyframes-label").hidden = mode === STORY;  // of one clip alone
  [$("prompt-what").textContent, $("prompt").placeholder] = mode === STORY ? SHOTS : WORDS;
  $("prompt").rows = mode === STORY ? 5 : 2;
}
$("mode").append(...MODES.map(([name], place) => make("option", { textContent: name, value: place })));
$("mode").addEventListener("change", showMode);
showMode();

function showValue(id, text) {
  const show = () => { $(`${id}-value`).textContent = text($(id).value); };
  $(id).addEventListener("input", show);
  show();
  return show;
}
const ownSteps = () => rows.find((row) => row.name === $("run").value)?.steps;
const showSteps = showValue("steps", (value) => (Number(value) ? value : `as the run says${ownSteps() ? ` (${ownSteps()})` : ""}`));
for (const id of ["strength", "draws", "dynamics"]) showValue(id, (value) => value);
showValue("keyframes", (value) => (Number(value) > 1 ? `${value}; they say how long it is` : "none"));

function showSliders() {
  const slots = rows.find((row) => row.name === $("run").value)?.slots ?? [];
  $("guidance").replaceChildren(...slots.map((slot) => {
    const value = make("output", { textContent: "1" });
    const slider = make("input", { type: "range", id: `guidance-${slot}`, min: 0, max: 8, step: 0.25, value: 1 });
    slider.addEventListener("input", () => { value.textContent = slider.value; });
    return make("label", {}, `Guidance of ${NAMES[slot]} `, value, slider);
  }));
  showSteps();
}
$("run").addEventListener("change", showSliders);

async function generateAsk() {
  const mode = Number($("mode").value);
  const wanted = Object.entries(MODES[mode][1]);
  const given = {};
  if (mode === STORY && !$("prompt").value.trim()) throw new Error("Write what happens first: two shots or more, each on a line.");
  for (const [place, [name, text]] of wanted.entries()) {
    const kind = ["generate", "second"][place];
    if (name === "keep" && !chosen.second) continue;
    given[name] = await uploaded(kind, place ? `A second file is wanted. ${text}` : "Choose a picture or a video first, or film a simulated scene.");
  }
  const guidance = {};
  for (const slider of $("guidance").querySelectorAll("input")) if (slider.value !== "1") guidance[slider.id.slice(9)] = Number(slider.value);
  return {
    kind: "generate", run: $("run").value, [mode === STORY ? "story" : "prompt"]: $("prompt").value.trim(), seed: Number($("seed").value), frames: Number($("frames").value),
    context_frames: Number($("context").value), steps: Number($("steps").value) || null, guidance, negative: $("negative").value.trim(),
    ...(mode === STORY ? {} : { best_of: Number($("draws").value), keyframes: Number($("keyframes").value) > 1 ? Number($("keyframes").value) : null }), physics_guidance: Number($("dynamics").value), loop: mode === LOOP, strength: Number($("strength").value), sound: $("sound").checked, speech: $("speech").value.trim(), judge: $("judged").checked, ...given,
  };
}

$("generate-form").addEventListener("submit", (event) => {
  event.preventDefault();
  run("generate", generateAsk, showGenerated);
});
$("judge-form").addEventListener("submit", (event) => {
  event.preventDefault();
  run("judge", async () => ({ kind: "evaluate", upload: await uploaded("judge", "Choose a video first.") }), showJudged);
});
$("scene").addEventListener("click", () => {
  const asked = async () => ({ kind: "simulate", family: $("family").value, seed: Number($("seed").value) });
  run("generate", asked, async (job) => {
    const film = await (await fetch(fileOf(job, "clip.mp4"))).blob();
    choose("generate", new File([film], `${job.ask.family}-${job.ask.seed}.mp4`));
    $("prompt").value = job.result.prompt;
    const tracks = await tracksOf(job);
    $("generate-result").replaceChildren(make("div", { className: "stage" }, player(fileOf(job, "clip.mp4"), "the simulated scene, with its true tracks", tracks)), downloads(job));
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

function compareRuns() {
  const marked = rows.filter((row) => $("run-table").querySelector(`input[value="${CSS.escape(row.name)}"]`)?.checked);
  if (marked.length < 2) return $("run-comparison").replaceChildren();
  const all = (part) => [...new Set(marked.flatMap((row) => Object.keys(row[part])))];
  const lines = (part, names, text) => names.map((name) => make("tr", {}, head(name), ...marked.map((row) => cell(name in row[part] ? text(row[part][name]) : "not set"))));
  const differing = all("config").filter((key) => new Set(marked.map((row) => JSON.stringify(row.config[key]))).size > 1);
  const shown = [...lines("measures", all("measures"), round), ...lines("config", differing, (value) => (value === null ? "off" : String(value)))];
  $("run-comparison").replaceChildren(soft(`Measures, and the ${differing.length} keys of the configs that differ.`), table(["", ...marked.map((row) => row.name)], shown));
}

function showStudy(study) {
  if (study.problem) return make("div", {}, soft(`${study.name}: ${study.problem}`));
  const number = (text) => (text === "" || text === undefined ? "" : round(text));
  const names = [...new Set(study.rows.map((row) => row.measure))];
  const choice = make("select", { ariaLabel: `measure of ${study.name}` }, ...names.map((name) => make("option", { textContent: name })));
  const place = make("div", {});
  const show = () => {
    const lines = study.rows.filter((row) => row.measure === choice.value).map((row) => make("tr", {}, head(row.arm), cell(`${number(row.mean)} ${row.unit ?? ""}`), cell(row.change ? `${number(row.change)} [${number(row.low)}, ${number(row.high)}]` : "the base"), cell(row.verdict)));
    place.replaceChildren(table(["arm", "mean", "change against the base, 95 %", "verdict"], lines));
  };
  choice.addEventListener("change", show);
  show();
  return make("div", {}, make("p", { className: "or" }, study.name, choice), place);
}

function runLine(row) {
  const box = make("input", { type: "checkbox", value: row.name, ariaLabel: `compare ${row.name}` });
  box.addEventListener("change", compareRuns);
  const measures = Object.entries(row.measures ?? {}).map(([name, value]) => `${name} ${round(value)}`).join(", ");
  return make("tr", {}, make("td", {}, box), head(row.name), cell(row.problem ? `${row.state}: ${row.problem}` : row.state), cell(row.step), cell(measures || "none"));
}

function jobLine(job) {
  const files = make("td", {}, make("span", { className: "downloads" }, ...job.files.map((name) => download(job, name, name))));
  const what = `${job.ask.kind} ${job.ask.prompt || job.ask.story || job.ask.family || ""}`;
  const told = job.error || job.result.verdict || (job.state === "running" && job.steps ? `step ${job.step} of ${job.steps}` : "");
  return make("tr", {}, cell(new Date(job.created * 1000).toLocaleString()), cell(what), cell(job.state, job.state === "failed" ? "low" : ""), cell(told), files);
}

async function showRuns() {
  try {
    const [found, { jobs }] = await Promise.all([ask("/api/runs"), ask("/api/jobs")]);
    rows = found.runs;
    $("run-table").replaceChildren(table(["", "run", "state", "step", "measures"], rows.map(runLine)));
    compareRuns();
    $("study-table").replaceChildren(...(found.studies.length ? found.studies.map(showStudy) : [soft("None. Start the server with --studies FOLDER to see those of worldgen ablate.")]));
    $("job-table").replaceChildren(jobs.length ? table(["when", "what", "state", "", "files"], jobs.map(jobLine)) : soft("None yet."));
  } catch (error) {
    say($("run-table"), error.message, true);
  }
}

async function begin() {
  try {
    about = await ask("/api/about");
    if (!$("run").options.length) $("run").replaceChildren(...about.runs.map((name) => make("option", { textContent: name })));
    $("server").hidden = true;
    if (about.families.length) $("family").replaceChildren(...about.families.map((name) => make("option", { textContent: name })));
    if (!about.ready) return setTimeout(begin, 1000);  // families and configs come with the worker
    rows = (await ask("/api/runs")).runs;
    showSliders();
  } catch (error) {
    $("server").hidden = false;
    $("server").textContent = error.message;
    setTimeout(begin, 3000);
  }
}
const wanted = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
if (wanted) open_(wanted);
begin();
