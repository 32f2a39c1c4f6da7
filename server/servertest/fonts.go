package servertest

// HasChineseFont is a JavaScript expression: whether the browser has a font with Chinese characters. Without one it draws the
// same empty box for each character.
const HasChineseFont = `((draw) => draw("中") !== draw("文"))((character) => {
	const canvas = new OffscreenCanvas(32, 32), context = canvas.getContext("2d");
	context.font = "24px sans-serif";
	context.fillText(character, 2, 26);
	return context.getImageData(0, 0, 32, 32).data.join();
})`

// NoChineseFont says what to do where there is none.
const NoChineseFont = "no font here has Chinese characters, so that a picture would show empty boxes: install one (Debian: apt-get install fonts-wqy-microhei)"
