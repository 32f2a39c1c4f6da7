// The page's JavaScript, as its Go program calls it: one function here for each method of Go's interface browser (ui/browser.go),
// under the same name. What happens in the browser goes to Go as messages (inbox.js). Arguments that are neither text, numbers
// nor booleans come as JSON text.

import { goTo, reload, replaceAddress, tellAddress, watchAddress } from "./address.js";
import { repaintRoomChart } from "./chart_room.js";
import { addSteps, clearChart, pointCount, rebuildChart, savePicture, showRunChart } from "./chart_run.js";
import { showPreview } from "./data_preview.js";
import { copy, download, saveJSON } from "./downloads.js";
import { appendText, focus, rendered, restoreText, setText, takeText, valueOf } from "./elements.js";
import { watchFileInputs } from "./file_input.js";
import { keepOffline, tellGPU, tellOffers } from "./host_info.js";
import { recallDirect } from "./hub_direct.js";
import { cancelFetch, fetchModel, pauseFetch, recallHub, removeModel } from "./hub.js";
import { drain, listen } from "./inbox.js";
import { watchKeyboard } from "./keyboard.js";
import { listRuns, openRun, removeRun } from "./kept_runs.js";
import { askChat, askSideEngine, controlEngine, endEngine, guardRun, startChat, startRun } from "./page_engines.js";
import { applyTheme, language, remember, remembered, setLanguage, theme } from "./preferences.js";
import { actInRoom, createRoom, forgetRoom, joinRoom, leaveRoom, planRoom, recallRoom, reportSeat, returnToOwnedRoom, watchRoom, watchVisibility } from "./room.js";
import { showRoom } from "./room_screen.js";
import { stopUpload, upload } from "./upload.js";

const offlineAfter = 3000; // milliseconds: the first click comes first

applyTheme(theme());
tellOffers(); // so that they are there when Go is
for (const watch of [watchFileInputs, watchAddress, watchKeyboard, watchVisibility, guardRun]) watch();

// start is called once, when Go listens.
const start = () => {
  tellAddress();
  tellGPU().catch(() => {});
  recallHub().then(recallDirect); // in this order, so that the page does not first offer the way that it then does not take
  listRuns();
  setTimeout(() => keepOffline().catch(() => {}), offlineAfter);
};

const setTheme = (name) => {
  applyTheme(name);
  remember("theme", name);
  rebuildChart();
  repaintRoomChart();
};

// afterRender is called after each render: the engine loads once the page is there.
const afterRender = () => {
  llamatab.prepare();
  rendered();
};

globalThis.llamatabPage = {
  actInRoom, appendText, askChat, askSideEngine, cancelFetch, clearChart, controlEngine, copy, createRoom, description: () => llamatab.description, download, drain, endEngine, fetchModel, focus, forgetRoom,
  goTo, joinRoom, language, leaveRoom, listRuns, listen, openRun, pauseFetch, planRoom, recallRoom, reload, remember,
  remembered: (name) => remembered(name) ?? "", removeModel, removeRun, rendered: afterRender, replaceAddress, reportSeat, restoreText, returnToOwnedRoom, saveJSON,
  savePicture, setLanguage, setText, setTheme, showPreview, showRoom, showRunChart, start, startChat, startRun, stopUpload, takeText, theme, upload,
  valueOf, watchRoom,
};

// What tests and the browser's console reach of the run's charts.
globalThis.llamatabCharts = { add: addSteps, points: pointCount, rebuild: rebuildChart };
