import { useEffect, useRef, useState } from "preact/hooks";
import { absolute } from "components/clock.js";
import { html } from "components/html.js";
import { of, post } from "./api.js";
import { Plan } from "./plan.js";

// useChange returns how a machine is changed: ask asks before it makes a call {call, body, verb,
// question}, and try makes one at once. done is called after each that was made.
export function useChange(machine, done) {
  const [asked, setAsked] = useState(null), [busy, setBusy] = useState(false), [result, setResult] = useState(null);
  const make = async (request) => {
    setBusy(true);
    setResult(null);
    try {
      setResult({ request, answer: await post(of(machine.id, request.call), request.body) });
    } catch (error) {
      setResult({ request, error: error.message });
    }
    setBusy(false);
    done();
  };
  return { asked, busy, result, make, ask: setAsked, close: () => setAsked(null) };
}

// Changes has the buttons of what changes the machine, the question before, and the answer after.
export function Changes({ name, entry, change, write }) {
  const { asked, busy, result } = change;
  const trial = entry?.health?.conditions?.find((c) => c.code === "ConfigOnTrial");
  if (!write) return null;
  return html`
    <section class="bar" aria-label="Changes of the config">
      <button disabled=${busy} onClick=${() => change.ask({
        call: "reload", verb: "Reload", question: `Put the config in the file in force on ${name}?`,
      })}>Reload the file</button>
      ${trial && html`
        <button class="primary" disabled=${busy} onClick=${() => change.ask({
          call: "confirm", verb: "Confirm", question: `Keep the config that is on trial on ${name}?`,
        })}>Confirm the trial</button>`}
      ${busy && html`<span class="muted" role="status">Working…</span>`}
    </section>
    ${result && html`<${Result} ...${result} />`}
    ${asked && html`<${Question} asked=${asked} change=${change} />`}`;
}

function Result({ request, answer, error }) {
  const box = useRef(null);
  useEffect(() => box.current.scrollIntoView({ block: "nearest" }), [answer, error]);
  return html`
    <section class="card result" role="status" ref=${box}>
      ${error ? html`<p class="error">✗ ${request.verb}: ${error}</p>` : html`<p class="ok">✓ ${request.verb}: done.</p>`}
      ${answer?.plan && html`<${Plan} plan=${answer.plan} />`}
      ${answer?.trialUntil && html`<p>On trial until ${absolute(answer.trialUntil)}.</p>`}
    </section>`;
}

function Question({ asked, change }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  // The dialog closes itself, so that the focus returns to where it was.
  const cancel = () => dialog.current.close();
  const answer = () => {
    cancel();
    change.make(asked);
  };
  return html`
    <dialog ref=${dialog} aria-labelledby="question" onClose=${change.close}>
      <p id="question">${asked.question}</p>
      <div class="bar">
        <button autofocus onClick=${cancel}>Cancel</button>
        <button class="primary" onClick=${answer}>${asked.verb}</button>
      </div>
    </dialog>`;
}
