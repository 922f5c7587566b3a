-- Before Quarto reads the figures of a page: a labelled cell that shows a widget has two outputs, the widget and what
-- stands in for it where scripts are blocked. Quarto would make two figures of them, (a) and (b), with the caption on the
-- first. Here they become one figure, with the code before it and the caption below, as with pictures.

local function is(div, class) return div.t == "Div" and div.classes:includes(class) end

function Div(cell)
  if not (is(cell, "cell") and cell.identifier:match("^fig%-")) then return nil end
  local id, before, shown, caption = cell.identifier, pandoc.List(), pandoc.List(), nil
  for _, block in ipairs(cell.content) do
    if is(block, "cell-output-display") then
      for _, part in ipairs(block.content) do
        if part.t == "Para" and not caption then caption = part else shown:insert(part) end
      end
    elseif block.t == "Para" and #shown > 0 then caption = block
    else before:insert(block) end
  end
  if not caption or #shown == 0 then return nil end
  shown:insert(caption)
  before:insert(pandoc.Div({pandoc.Div(shown, pandoc.Attr(id))}, pandoc.Attr("", {"cell-output", "cell-output-display"})))
  cell.identifier, cell.content = "cell-" .. id, before
  return cell
end
