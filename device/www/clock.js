// The time of this browser goes with the form that sets the board's clock.
document.getElementById("clock").addEventListener("submit", function () {
  this.elements.unix_ms.value = Date.now();
});
