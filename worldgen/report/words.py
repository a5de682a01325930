"""What a report says: of each check, of its numbers, and the style sheet of its page."""

MEANING = {
    "motion": "how far the most mobile object gets; under one radius nothing else is judged",
    "free_fall": "fitted acceleration in flight against g",
    "ballistic_residual": "distance from the best parabola in flight",
    "flight_shape": "change of the acceleration along a flight: drag, or no free fall",
    "energy_gain": "largest later rise of energy in a passive world",
    "chord_energy": "steps that need more energy than there is",
    "rebound": "rise above an earlier apex after a bounce, over the drop; needs no scale",
    "g_eff": "2 h / t² of falls from rest against g",
    "galileo_ratio": "whether two falls take the same g, for any scale and frame rate",
    "momentum": "change of what nothing outside pushes",
    "penetration": "how deep bodies sink into each other or the floor",
    "penetration_share": "frames in which some body is deep in another",
    "oscillation_residual": "distance from the best damped sinusoid",
    "damping": "whether a swing dies down; negative, it gains energy",
    "permanence": "objects that stay, with none added",
    "replay_error": "distance from a simulation that starts as the clip does",
    "replay_horizon": "how long it stays within a radius of that simulation",
    "replay_misfit": "distance from the nearest simulation, whatever its start",
    "replay_contacts": "kicks that come early, late or never",
    "replay_overlap": "bodies inside each other, beyond what soft contacts allow",
    "replay_energy": "mechanical energy beside the simulation's",
    "replay_momentum": "total momentum beside the simulation's",
    "births": "objects that come or go away from borders and screens",
    "identity_swaps": "objects that change places from one frame to the next",
    "area_variation": "change of an object's size in the picture",
    "color_variation": "change of an object's color",
    "trajectory_error": "root mean square distance from what truly happened",
    "average_displacement": "mean distance from what truly happened",
    "final_displacement": "the same in the last frame",
    "joint_limits": "how far a joint goes beyond its limits",
    "foot_skating": "metres that feet slide in a second of contact",
    "balance": "how far the weight is beyond the feet while a figure stands",
    "bone_length": "change of a bone's length",
    "valid_horizon": "how long all stay within a radius of the truth",
}
"""What each check measures, in a few words."""

SOURCES = {
    "truth": "states read from the simulator",
    "readout": "states tracked in the pixels of the clip",
    "replay": "a simulation from the tracked first state, held against the rest of the track",
}
"""Where states come from."""

TOLD = (
    "A score speaks of the objects that were tracked, and of nothing else in the picture.",
    "A low score means that a law was broken or that tracking failed: look at the tracks before you believe "
    "it. A high score means that this check noticed nothing.",
    "A check that does not apply is left out of every mean: it is neither good nor bad.",
)
"""Limits of all checks."""

STYLE = """
:root{color-scheme:light dark;--page:#fbfaf7;--ink:#22252a;--soft:#63676d;--line:#e2e0d9;
 --good:#0072b2;--bad:#b84f00;--shade:#f3f1eb;--mark:#e69f00}
@media(prefers-color-scheme:dark){:root{--page:#15171a;--ink:#dcdad4;--soft:#9a9c9f;--line:#2e3136;
 --good:#4f9fd6;--bad:#e8803c;--shade:#1c1f23}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 ui-sans-serif,system-ui,
 -apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:70rem;margin:0 auto;padding:2rem 1.25rem 5rem}
h1,h2,h3{font-weight:600;line-height:1.25;letter-spacing:-.01em;text-wrap:balance}
h1{font-size:1.15rem;color:var(--soft);margin:0 0 .5rem}
.said{font-size:1.45rem;line-height:1.35;font-weight:500;max-width:58rem;margin:.25rem 0 1.25rem;
 text-wrap:pretty}
h2{font-size:1.3rem;margin:3.5rem 0 .75rem}
h3{font-size:1.05rem;margin:2rem 0 .25rem}
p,ul{margin:.5rem 0;max-width:46rem;overflow-wrap:break-word}
ul{padding-left:1.2rem}
li{margin:.25rem 0}
.lead{font-size:1.08rem}
.soft,small,.none{color:var(--soft)}
small{display:block;font-size:.8rem;font-weight:400;line-height:1.4}
small b{color:var(--ink);font-weight:600}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.92rem}
.wide{width:100%}
th,td{text-align:left;vertical-align:top;padding:.55rem 1.25rem .55rem 0;border-bottom:1px solid var(--line)}
thead th{font-weight:600;vertical-align:bottom;border-bottom-color:var(--soft)}
tbody th{font-weight:500;min-width:10rem;max-width:17rem}
td{min-width:8rem}
td small{max-width:13rem}
.number{text-align:right;white-space:nowrap;min-width:0}
.none{font-size:.8rem;max-width:11rem}
.control{background:var(--shade)}
th.control,td.control{padding-left:.75rem}
.score{display:flex;align-items:center;gap:.5rem;white-space:nowrap}
.bar{display:block;width:3.5rem;height:.4rem;border-radius:.2rem;background:var(--line);overflow:hidden}
.bar span{display:block;height:100%;background:var(--good)}
.low{color:var(--bad);font-weight:600}
.low .bar span{background:var(--bad)}
figure{margin:0}
figcaption{font-size:.9rem;margin-top:.35rem}
.players{display:flex;gap:1rem}
.player,.strip i{--wide:56px;width:var(--wide);height:calc(var(--wide)*var(--shape));
 background-repeat:no-repeat;background-size:calc(var(--wide)*var(--steps)) 100%;image-rendering:pixelated}
.player{--wide:192px;border-radius:3px;animation:play var(--play) steps(var(--steps),jump-none) infinite}
@keyframes play{from{background-position-x:0}80%,to{background-position-x:100%}}
body:has(#pause:checked) .player{animation-play-state:paused}
@media(prefers-reduced-motion:reduce){.player{animation-play-state:paused}}
.stage{display:flex;flex-wrap:wrap;gap:1rem 1.75rem}
.stage .players{gap:.5rem}.stage .player{--wide:160px}
.tiles{list-style:none;display:grid;gap:1rem 1.5rem;
 grid-template-columns:repeat(auto-fit,minmax(11.5rem,1fr));max-width:none;padding:0;margin:1.25rem 0 0}
.tiles li{border-top:2px solid var(--ink);padding-top:.5rem;margin:0}
.tiles .name{display:block;font-size:.85rem}
.tiles b{font-size:1.7rem;font-weight:600;line-height:1.2}
details{border-top:1px solid var(--line);padding:.5rem 0}
summary{cursor:pointer;font-weight:500}
.pause{display:inline-flex;gap:.4rem;align-items:center;font-size:.9rem;color:var(--soft)}
.strips{width:max-content}
.strip{display:flex;align-items:center;gap:.75rem}
.strip>span{flex:0 0 8.5rem;font-size:.8rem;color:var(--soft);text-align:right}
.strip>div{display:flex;gap:2px;padding:4px 0 2px}
.strip i{background-position-x:calc(var(--cell)*var(--wide)*-1)}
.strip .given{box-shadow:0 -3px 0 var(--mark)}
.plot svg{display:block;min-width:40rem;max-width:100%;height:auto;fill:currentColor}
.plot svg text{font-family:inherit!important}
pre{background:var(--shade);padding:.8rem 1rem;border-radius:4px;margin:0;width:max-content;min-width:100%;
 font:.88rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media(max-width:40rem){main{padding-top:1rem}.said{font-size:1.15rem}
 .stage .player{--wide:min(42vw,160px)}.stage>div:nth-child(n+2){display:none}
 .tiles{grid-template-columns:1fr 1fr}.strip>span{flex-basis:5rem}}
@media print{.player,.pause{display:none}}
"""

KEY_ROWS = (
    "generated: median trajectory error",
    "generated: object present",
    "generated: free fall, a / g - 1",
    "generated: PSNR on moving pixels",
    "videos judged",
    "objects",
    "frames",
)
"""Lines of a summary that belong to the first view."""

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "What was judged",
        ("videos judged", "videos refused", "clips refused", "files missing", "views adapted"),
    ),
    ("Replay in the simulator", ("replay",)),
    ("The tracker's own error", ("tracker",)),
    ("Baselines to beat", ("copy of the last frame", "constant velocity", "linear regression")),
    ("What the codec alone costs", ("codec alone", "below the codec's")),
    ("Physics-IQ beside a second take", ("IoU", "MSE", "Physics-IQ")),
    ("Motion", ("trajectory", "free fall", "object present")),
    ("Appearance, and no word about physics", ("PSNR", "SSIM", "LPIPS", "flicker", "dynamic degree")),
    ("Other numbers", ()),
)
"""Headlines of the folded tables, and words of the lines under each: the first that fits."""
