// What JavaScript shows on a room's screen: the curve, and the QR code of the link.

import { showRoomChart } from "./chart_room.js";
import { whenThere } from "./elements.js";

const drawQR = async (box, link) => {
  const { generate } = await import("/lean-qr.js");
  const canvas = document.createElement("canvas");
  generate(link).toCanvas(canvas, { on: [0, 0, 0, 255], off: [255, 255, 255, 255], pad: 4 }); // dark on light in both themes, as scanners expect
  box.replaceChildren(canvas);
};

// showRoom shows both once the screen is there. Without a link there is no QR code.
export const showRoom = (link) => whenThere("qr", (box) => {
  const curve = document.getElementById("room-curve");
  if (curve) showRoomChart(curve);
  if (link) drawQR(box, link);
});
