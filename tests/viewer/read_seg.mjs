// Load segmentations with the code with which OHIF loads them (cornerstone3D's adapters), and write down the voxels.
//
//     node read_seg.mjs CASES.json
//
// CASES: a list of {seg, images, out}: the SEG's file; the images of the viewer's stack in its order, as {imageId,
// SOPInstanceUID, ...} with the attributes of the plane; and the file for the voxels, images x rows x columns, one byte
// each. Where segments overlap, several such blocks. Prints, per case, {segments} or {error}, as JSON.

import { readFileSync, writeFileSync } from "node:fs";
import { cache, metaData } from "@cornerstonejs/core";
import { adaptersSEG } from "@cornerstonejs/adapters";

// the parsers tell the terminal what they think; the answer is what goes to stdout
console.log = console.info = console.debug = console.warn = () => {};

const modules = {
  instance: (image) => image,
  generalImageModule: (image) => ({ sopInstanceUID: image.SOPInstanceUID }),
  generalSeriesModule: (image) => ({ seriesInstanceUID: image.SeriesInstanceUID, modality: image.Modality }),
  imagePixelModule: () => ({ bitsAllocated: 16, bitsStored: 16, samplesPerPixel: 1, pixelRepresentation: 1 }),
  imagePlaneModule: (image) => ({
    rows: image.Rows,
    columns: image.Columns,
    frameOfReferenceUID: image.FrameOfReferenceUID,
    imagePositionPatient: image.ImagePositionPatient,
    imageOrientationPatient: image.ImageOrientationPatient,
    rowCosines: image.ImageOrientationPatient.slice(0, 3),
    columnCosines: image.ImageOrientationPatient.slice(3),
    rowPixelSpacing: image.PixelSpacing[0],
    columnPixelSpacing: image.PixelSpacing[1],
    pixelSpacing: image.PixelSpacing,
  }),
};

let images = new Map();
const provider = (type, imageId) => (images.has(imageId) ? modules[type]?.(images.get(imageId)) : undefined);
metaData.addProvider(provider, 1000);

async function read({ seg, images: stack, out }) {
  cache.purgeCache();
  images = new Map(stack.map((image) => [image.imageId, image]));
  const bytes = readFileSync(seg);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const { createFromDICOMSegBuffer } = adaptersSEG.Cornerstone3D.Segmentation;
  const made = await createFromDICOMSegBuffer([...images.keys()], buffer, { metadataProvider: metaData });
  const planes = made.labelMapImages.flat().map((image) => Uint8Array.from(image.voxelManager.getScalarData()));
  writeFileSync(out, Buffer.concat(planes));
  return { segments: made.segMetadata.data.filter(Boolean).map((one) => [one.SegmentNumber, one.SegmentLabel]) };
}

const answers = [];
for (const one of JSON.parse(readFileSync(process.argv[2]))) {
  answers.push(await read(one).catch((error) => ({ error: String(error?.stack ?? error) })));
}
process.stdout.write(JSON.stringify(answers));
