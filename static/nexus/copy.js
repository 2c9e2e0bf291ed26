// Copies the text of the element that a button names, and says so on the button.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) {
    return;
  }
  const source = document.getElementById(button.dataset.copies);
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    // Without the clipboard (plain http elsewhere than here): select it, one keystroke copies it.
    window.getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = before; }, 2000);
});
