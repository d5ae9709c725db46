// Files that are dropped or pasted anywhere go into the field of the tab that is open, in place of what it has.

async function give(files) {
  const place = [...document.querySelectorAll(".mg-drop")].find((one) => one.offsetParent);
  const field = () => place?.querySelector("input[type=file]");
  if (!field()) place?.querySelector("button[aria-label=Clear]")?.click();
  for (let tries = 0; !field() && tries < 100; tries++) await new Promise((done) => setTimeout(done, 20));
  if (!field()) return;
  const list = new DataTransfer();
  (field().multiple ? files : files.slice(0, 1)).forEach((file) => list.items.add(file));
  field().files = list.files;
  field().dispatchEvent(new Event("change", { bubbles: true }));
}

document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length || event.target.closest?.("input[type=text], textarea")) return;
  event.preventDefault();
  give(files);
});
document.addEventListener("dragover", (event) => {
  if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return; // a field has taken it itself
  event.preventDefault(); // otherwise browsers leave the page, and show the file
  const files = [...event.dataTransfer.files];
  if (files.length) give(files);
});

// The wheel scrolls the page, also over a picture, which gradio would make larger; with Ctrl it does.
document.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && event.target.closest?.("#before-after, #before-after-film")) event.stopPropagation();
}, { capture: true, passive: true });

// What gradio's comparing slider lacks for keyboards and screen readers.
function shareShown(handle) {
  const box = handle.parentElement.getBoundingClientRect();
  const line = handle.getBoundingClientRect();
  return Math.min(1, Math.max(0, (line.left + line.width / 2 - box.left) / box.width));
}

function move(handle, share) {
  const box = handle.parentElement.getBoundingClientRect();
  const middle = handle.getBoundingClientRect();
  const to = { bubbles: true, view: window, clientY: middle.top + middle.height / 2 };
  const grip = handle.querySelector(".inner") ?? handle;
  grip.dispatchEvent(new MouseEvent("mousedown", { ...to, clientX: middle.left + middle.width / 2 }));
  window.dispatchEvent(new MouseEvent("mousemove", { ...to, clientX: box.left + share * box.width }));
  window.dispatchEvent(new MouseEvent("mouseup", { ...to, clientX: box.left + share * box.width }));
}

function complete() {
  for (const status of document.querySelectorAll("#status, #status-many, #status-film")) status.setAttribute("aria-live", "polite");
  for (const handle of document.querySelectorAll("[data-testid=slider]:not([tabindex])")) {
    const images = handle.parentElement.querySelectorAll("img");
    images.forEach((image, number) => (image.alt = ["The picture before", "The picture restored"][number] ?? ""));
    const tell = () => handle.setAttribute("aria-valuenow", Math.round(100 * shareShown(handle)));
    Object.assign(handle, { tabIndex: 0, role: "slider", ariaLabel: "Share shown as it was before, in percent" });
    handle.setAttribute("aria-valuemin", 0);
    handle.setAttribute("aria-valuemax", 100);
    tell();
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.05, ArrowDown: -0.05, ArrowRight: 0.05, ArrowUp: 0.05, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      move(handle, Math.min(1, Math.max(0, shareShown(handle) + step)));
      requestAnimationFrame(tell);
    });
    handle.addEventListener("focus", tell);
  }
}
new MutationObserver(complete).observe(document.documentElement, { childList: true, subtree: true });
