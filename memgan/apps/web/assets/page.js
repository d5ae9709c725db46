// A picture that is pasted anywhere goes into the tab's field for files, as if it had been dropped there.
document.addEventListener("paste", (event) => {
  if (event.target.closest("input[type=text], textarea")) return;
  const files = [...(event.clipboardData?.files ?? [])];
  const field = [...document.querySelectorAll(".mg-drop input[type=file]")].find((one) => one.closest(".mg-drop").offsetParent);
  if (!files.length || !field) return;
  event.preventDefault();
  const list = new DataTransfer();
  (field.multiple ? files : files.slice(0, 1)).forEach((file) => list.items.add(file));
  field.files = list.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
});
// So does one that is dropped beside the field.
document.addEventListener("dragover", (event) => {
  if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  const field = [...document.querySelectorAll(".mg-drop input[type=file]")].find((one) => one.closest(".mg-drop").offsetParent);
  const files = [...(event.dataTransfer?.files ?? [])];
  if (!files.length || !field || event.target.closest(".mg-drop")) return;
  event.preventDefault();
  const list = new DataTransfer();
  (field.multiple ? files : files.slice(0, 1)).forEach((file) => list.items.add(file));
  field.files = list.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
});
